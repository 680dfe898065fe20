"""PostgreSQL."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

import psycopg

from .base import Kind, Service, Unavailable
from .instances import Instance, program
from .ports import LOOPBACK


def newest_binaries() -> list[str]:
    """Debian's folders, the newest version first."""
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    return [
        str(folder)
        for folder in sorted(
            folders, key=lambda folder: _version(folder.parent.name), reverse=True
        )
    ]


def _version(name: str) -> float:
    try:
        return float(name)
    except ValueError:
        return 0


class PrivatePostgreSQL(Instance):
    key = "postgresql"
    # The server refuses to run as root.
    accounts = ("postgres", "nobody")
    polite = signal.SIGINT  # "Fast": open sessions are ended, not waited for.

    def prepare(self) -> None:
        self.execute(
            program("initdb", *newest_binaries()),
            f"--pgdata={self.data}",
            "--username=postgres",
            f"--pwfile={self.write('password', self.password)}",
            "--auth=password",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )

    def address(self) -> str:
        return f"postgresql://postgres:{self.password}@{LOOPBACK}:{self.listening}/postgres"

    def command(self) -> Sequence[str]:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": self.listening,
            "unix_socket_directories": "",
            "max_connections": 200,
            # What is committed is in the kernel's hands: it survives kill -9, which
            # tests do, though not a power failure, which they do not.
            "fsync": "off",
            # In the data directory, so that it goes with it.
            "dynamic_shared_memory_type": "mmap",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        postgres = program("postgres", *newest_binaries())
        return [postgres, "-D", str(self.data), *options, *self.arguments]

    def answers(self) -> bool:
        try:
            check(self.url, timeout=1)
        except Unavailable:
            return False
        return True


def check(url: str, timeout: int = 3) -> None:
    try:
        with psycopg.connect(url, connect_timeout=timeout) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error as error:
        raise Unavailable(str(error).strip()) from error


POSTGRESQL = Kind(
    name="PostgreSQL",
    key="postgresql",
    variable="STRANGLER_TEST_POSTGRESQL_URL",
    port=5432,
    usual_urls=(
        f"postgresql://postgres:postgres@{LOOPBACK}:5432/postgres",
        f"postgresql://postgres@{LOOPBACK}:5432/postgres",
    ),
    package="postgresql",
    check=check,
    shared=Service,
    private=PrivatePostgreSQL,
)
