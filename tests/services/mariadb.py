"""MariaDB; or MySQL, where that is installed instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql

from .base import Kind, Service, Unavailable
from .instances import Instance, has_program, program
from .ports import LOOPBACK


class PrivateMariaDB(Instance):
    key = "mariadb"
    accounts = ("mysql", "nobody")
    server = "mariadbd"
    log_arguments = ("--innodb-log-file-size=16M",)

    def prepare(self) -> None:
        self.execute(
            program("mariadb-install-db"),
            "--no-defaults",
            f"--datadir={self.data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            self.tmpdir,
            "--innodb-flush-method=nosync",
            *self.log_arguments,
        )
        # Read at each start, before anybody is let in.
        self.write(
            "init.sql",
            f"ALTER USER root@localhost IDENTIFIED BY '{self.password}';\n"
            f"ALTER USER root@'127.0.0.1' IDENTIFIED BY '{self.password}';\n",
        )

    @property
    def tmpdir(self) -> str:
        # A server that starts deletes what looks like a temporary table of its own: in
        # a shared folder, those of its neighbours, who may die of it.
        return f"--tmpdir={self.folder}"

    def address(self) -> str:
        return f"mariadb://root:{self.password}@{LOOPBACK}:{self.listening}/mysql"

    def command(self) -> Sequence[str]:
        return [
            program(self.server),
            "--no-defaults",
            f"--datadir={self.data}",
            f"--init-file={self.folder / 'init.sql'}",
            f"--pid-file={self.folder / 'pid'}",
            self.tmpdir,
            # Under the data directory: a long path would not fit into an address.
            f"--socket={self.server}.sock",
            f"--bind-address={LOOPBACK}",
            f"--port={self.listening}",
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
            "--innodb-buffer-pool-size=64M",
            # Commits reach the kernel, not the disk: enough for kill -9.
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-flush-method=nosync",
            *self.log_arguments,
            *self.arguments,
        ]

    def answers(self) -> bool:
        try:
            check(self.url, timeout=1)
        except Unavailable:
            return False
        return True


class PrivateMySQL(PrivateMariaDB):
    server = "mysqld"
    log_arguments = (
        "--innodb-redo-log-capacity=32M",
        # As on MariaDB: many tests make databases, nobody replays them.
        "--disable-log-bin",
        "--mysqlx=OFF",
    )

    def prepare(self) -> None:
        self.execute(
            program(self.server),
            "--no-defaults",
            "--initialize-insecure",
            f"--datadir={self.data}",
            self.tmpdir,
            "--innodb-flush-method=nosync",
            *self.log_arguments,
        )
        password = f"IDENTIFIED BY '{self.password}'"
        self.write(
            "init.sql",
            f"ALTER USER root@localhost {password};\n"
            f"CREATE USER IF NOT EXISTS root@'127.0.0.1' {password};\n"
            "GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n",
        )


def _server_that_is_there() -> type[PrivateMariaDB]:
    is_mysql = has_program(PrivateMySQL.server) and not has_program("mariadbd")
    return PrivateMySQL if is_mysql else PrivateMariaDB


def connect(url: str, **options: Any) -> pymysql.Connection:
    """A connection in autocommit mode."""
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname,
        port=parts.port or MARIADB.port,
        user=unquote(parts.username or "root"),
        password=unquote(parts.password or ""),
        charset="utf8mb4",
        autocommit=True,
        **options,
    )


def check(url: str, timeout: int = 3) -> None:
    try:
        with connect(url, connect_timeout=timeout, read_timeout=timeout) as connection:
            connection.ping(reconnect=False)
    except (pymysql.Error, OSError) as error:
        raise Unavailable(str(error)) from error


MARIADB = Kind(
    name="MariaDB",
    key="mariadb",
    variable="STRANGLER_TEST_MARIADB_URL",
    port=3306,
    usual_urls=(
        f"mariadb://root:root@{LOOPBACK}:3306/mysql",
        f"mariadb://root@{LOOPBACK}:3306/mysql",
    ),
    package="mariadb-server",
    check=check,
    shared=Service,
    private=_server_that_is_there(),
)
