"""DATABASE_URL, read into what Django's DATABASES wants."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

ENGINES = {
    "postgres": "django.db.backends.postgresql",
    "postgresql": "django.db.backends.postgresql",
    "mariadb": "django.db.backends.mysql",
    "mysql": "django.db.backends.mysql",
}


def from_path(path: Path | str) -> dict[str, Any]:
    """A SQLite file that several processes may write to."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": {
            # A transaction that starts by reading and then writes cannot wait for
            # its turn: SQLite refuses it at once. IMMEDIATE takes the turn first.
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL",
            "timeout": 20,
        },
    }


def from_url(url: str) -> dict[str, Any]:
    """
    Read a URL such as postgresql://user:password@host:5432/name?sslmode=require.

    A Unix socket goes into the query: ?host=/run/postgresql for PostgreSQL,
    ?unix_socket=/run/mysqld/mysqld.sock for MariaDB.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return from_path(unquote(parts.path.removeprefix("/")))
    if parts.scheme not in ENGINES:
        raise ImproperlyConfigured(
            f"DATABASE_URL starts with {parts.scheme!r}. Use sqlite, "
            f"{', '.join(sorted(ENGINES))}."
        )
    options: dict[str, Any] = {
        name: int(value) if value.isdecimal() else value
        for name, value in parse_qsl(parts.query)
    }
    host = options.pop("host", parts.hostname)
    if ENGINES[parts.scheme].endswith("mysql"):
        options.setdefault("charset", "utf8mb4")
    return {
        "ENGINE": ENGINES[parts.scheme],
        "NAME": unquote(parts.path.removeprefix("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host or "",
        "PORT": parts.port or "",
        "OPTIONS": options,
    }


def use_pymysql_if_needed() -> None:
    """Let PyMySQL stand in for mysqlclient where that is not installed."""
    try:
        import MySQLdb  # noqa: F401
    except ImportError:
        import pymysql

        # Django asks for a mysqlclient at least this new, not for a PyMySQL.
        pymysql.version_info = (2, 2, 7, "final", 0)
        pymysql.install_as_MySQLdb()
