"""Where databases are made: each test gets a copy of one that is migrated."""

from __future__ import annotations

import contextlib
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pymysql
from monolith import database
from psycopg import sql

from tests.waiting import TimedOut, wait_for

from .leftovers import mark, orphaned
from .mariadb import connect


class Store(ABC):
    """Makes, copies and drops the databases of one server."""

    def __init__(self) -> None:
        self.made = 0
        self.migrated = ""  # The name of the database that the others are copies of.

    def new_name(self) -> str:
        self.made += 1
        return f"{mark()}_{self.made}"

    @abstractmethod
    def config(self, name: str) -> dict[str, Any]:
        """What Django's DATABASES wants."""

    @abstractmethod
    def create(self, name: str) -> None: ...

    @abstractmethod
    def copy(self, source: str, name: str) -> None:
        """Copy tables and rows; nobody is connected to the source."""

    def restore(self, name: str) -> bool:
        """Make a copy as it was when it was new, if that is quicker and can be done."""
        return False

    @abstractmethod
    def drop(self, name: str) -> None:
        """Drop it, whoever is still connected."""

    @abstractmethod
    def names(self) -> list[str]: ...

    def sweep(self) -> None:
        """Drop what dead runs left on a server that outlived them."""
        for name in self.names():
            if orphaned(name):
                self.drop(name)


class SQLiteStore(Store):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def config(self, name: str) -> dict[str, Any]:
        return database.from_path(self._path(name))

    def create(self, name: str) -> None:
        pass  # Connecting does.

    def copy(self, source: str, name: str) -> None:
        # The last one to leave has emptied the write-ahead log into the file.
        shutil.copy(self._path(source), self._path(name))

    def drop(self, name: str) -> None:
        for path in self.folder.glob(f"{name}.sqlite3*"):
            path.unlink()

    def names(self) -> list[str]:
        return [path.stem for path in self.folder.glob("*.sqlite3")]

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.sqlite3"


class PostgreSQLStore(Store):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def config(self, name: str) -> dict[str, Any]:
        return database.from_url(with_name(self.url, name))

    def create(self, name: str) -> None:
        self._execute("CREATE DATABASE {}", name)

    def copy(self, source: str, name: str) -> None:
        self._execute(
            f"CREATE DATABASE {{}} TEMPLATE {{}} {self._strategy}", name, source
        )

    @cached_property
    def _strategy(self) -> str:
        # PostgreSQL 15 writes each page to the log, to save two checkpoints. They cost
        # little where nothing is synced, and all those pages do not.
        with psycopg.connect(self.url) as connection:
            is_synced = connection.execute("SHOW fsync").fetchone() != ("off",)
            is_old = connection.info.server_version < 150_000
        return "" if is_synced or is_old else "STRATEGY FILE_COPY"

    def drop(self, name: str) -> None:
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def names(self) -> list[str]:
        with psycopg.connect(self.url) as connection:
            rows = connection.execute("SELECT datname FROM pg_database")
            return [name for (name,) in rows]

    def _execute(self, statement: str, *names: str) -> None:
        command = sql.SQL(statement).format(*map(sql.Identifier, names))

        def done() -> bool:
            connection.execute(command)
            return True

        with psycopg.connect(
            self.url, autocommit=True, connect_timeout=60
        ) as connection:
            # It waits some seconds for sessions to end, and on a busy machine that is
            # not enough.
            wait_for(done, ignoring=(psycopg.errors.ObjectInUse,))


class MariaDBStore(Store):
    moment = 0.2  # Seconds in which a connection that was closed just now is gone.

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def config(self, name: str) -> dict[str, Any]:
        return database.from_url(with_name(self.url, name))

    def create(self, name: str) -> None:
        self._execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")

    def copy(self, source: str, name: str) -> None:
        # No templates here; there are few tables and fewer rows.
        self.create(name)
        with connect(self.url, database=source) as connection:
            cursor = connection.cursor()
            definitions = self._definitions(cursor, source)
            filled = self._filled(cursor, definitions)
            cursor.execute("SET FOREIGN_KEY_CHECKS = 0")
            cursor.execute("SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO'")
            cursor.execute(f"USE `{name}`")
            for definition in definitions.values():
                cursor.execute(definition)
            for table in filled:
                cursor.execute(
                    f"INSERT INTO `{table}` SELECT * FROM `{source}`.`{table}`"
                )

    def restore(self, name: str) -> bool:
        # To create a table takes milliseconds, and a test writes to few of them.
        with connect(self.url, database=self.migrated) as connection:
            cursor = connection.cursor()
            wanted = self._definitions(cursor, self.migrated)
            filled = self._filled(cursor, wanted)
            rows = self._checksums(cursor, filled)
            cursor.execute(f"USE `{name}`")
            try:
                wait_for(
                    lambda: not self._sessions(cursor, name),
                    self.moment,
                    interval=0.005,
                )
                found = self._definitions(cursor, name)
            except (TimedOut, NotImplementedError):
                return False  # Somebody is in it yet, or has made a trigger.
            if _schema(found) != _schema(wanted):
                return False
            written = {table for table in found if found[table] != wanted[table]}
            written |= self._filled(cursor, found) - filled
            if written & filled or self._checksums(cursor, filled) != rows:
                return False
            cursor.execute("SET FOREIGN_KEY_CHECKS = 0")
            for table in written:
                cursor.execute(f"TRUNCATE `{table}`")
        return True

    def drop(self, name: str) -> None:
        with connect(self.url) as connection:
            cursor = connection.cursor()
            # An open transaction elsewhere would make DROP wait for it.
            for session in self._sessions(cursor, name):
                # By now it may have ended by itself.
                with contextlib.suppress(pymysql.err.OperationalError):
                    cursor.execute("KILL %s", [session])
            cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")

    def names(self) -> list[str]:
        with connect(self.url) as connection:
            cursor = connection.cursor()
            cursor.execute("SHOW DATABASES")
            return [name for (name,) in cursor.fetchall()]

    def _sessions(self, cursor: pymysql.cursors.Cursor, name: str) -> list[int]:
        """Of others, that are connected to it."""
        cursor.execute(
            "SELECT id FROM information_schema.processlist "
            "WHERE db = %s AND id <> connection_id()",
            [name],
        )
        return [session for (session,) in cursor.fetchall()]

    def _definitions(
        self, cursor: pymysql.cursors.Cursor, source: str
    ) -> dict[str, str]:
        """The CREATE TABLE of each table, with the next number of its keys."""
        return {
            table: self._definition(cursor, table)
            for table in self._tables(cursor, source)
        }

    def _filled(
        self, cursor: pymysql.cursors.Cursor, tables: Iterable[str]
    ) -> set[str]:
        """Those that have rows."""
        looks = (f"(SELECT '{table}' FROM `{table}` LIMIT 1)" for table in tables)
        cursor.execute(" UNION ALL ".join(looks))
        return {table for (table,) in cursor.fetchall()}

    def _checksums(
        self, cursor: pymysql.cursors.Cursor, tables: Iterable[str]
    ) -> list[int]:
        names = ", ".join(f"`{table}`" for table in sorted(tables))
        cursor.execute(f"CHECKSUM TABLE {names}")
        return [checksum for (_, checksum) in cursor.fetchall()]

    def _tables(self, cursor: pymysql.cursors.Cursor, source: str) -> list[str]:
        cursor.execute("SHOW FULL TABLES")
        views = [name for name, type in cursor.fetchall() if type != "BASE TABLE"]
        cursor.execute("SHOW TRIGGERS")
        if views or cursor.fetchall():
            raise NotImplementedError(f"{source} has views or triggers: copy them too.")
        cursor.execute("SHOW TABLES")
        return [name for (name,) in cursor.fetchall()]

    def _definition(self, cursor: pymysql.cursors.Cursor, table: str) -> str:
        cursor.execute(f"SHOW CREATE TABLE `{table}`")
        row = cursor.fetchone()
        assert row is not None
        return str(row[1])

    def _execute(self, statement: str) -> None:
        with connect(self.url) as connection:
            connection.cursor().execute(statement)


def _schema(definitions: dict[str, str]) -> dict[str, str]:
    """The same without what changes with the rows."""
    return {
        table: re.sub(r" AUTO_INCREMENT=\d+", "", definition)
        for table, definition in definitions.items()
    }


def with_name(url: str, name: str) -> str:
    """The same server, another database."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()
