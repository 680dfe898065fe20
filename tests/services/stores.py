"""Where databases are made: each test gets a copy of one that is migrated."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pymysql
from monolith import database
from psycopg import sql

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
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, source)

    def drop(self, name: str) -> None:
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def names(self) -> list[str]:
        with psycopg.connect(self.url) as connection:
            rows = connection.execute("SELECT datname FROM pg_database")
            return [name for (name,) in rows]

    def _execute(self, statement: str, *names: str) -> None:
        identifiers = map(sql.Identifier, names)
        with psycopg.connect(
            self.url, autocommit=True, connect_timeout=20
        ) as connection:
            connection.execute(sql.SQL(statement).format(*identifiers))


class MariaDBStore(Store):
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
            tables = self._tables(cursor, source)
            statements = [self._definition(cursor, table) for table in tables]
            cursor.execute("SET FOREIGN_KEY_CHECKS = 0")
            cursor.execute("SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO'")
            cursor.execute(f"USE `{name}`")
            for statement in statements:
                cursor.execute(statement)
            for table in tables:
                cursor.execute(
                    f"INSERT INTO `{table}` SELECT * FROM `{source}`.`{table}`"
                )

    def drop(self, name: str) -> None:
        with connect(self.url) as connection:
            cursor = connection.cursor()
            # An open transaction elsewhere would make DROP wait for it.
            cursor.execute(
                "SELECT id FROM information_schema.processlist WHERE db = %s", [name]
            )
            for (session,) in cursor.fetchall():
                cursor.execute("KILL %s", [session])
            cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")

    def names(self) -> list[str]:
        with connect(self.url) as connection:
            cursor = connection.cursor()
            cursor.execute("SHOW DATABASES")
            return [name for (name,) in cursor.fetchall()]

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


def with_name(url: str, name: str) -> str:
    """The same server, another database."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()
