"""Statements: reading rows, claiming one once, and errors that pass."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.db import DatabaseError, IntegrityError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler.clock import DatabaseNow, now_sql, stored

_SQLSTATES = {"40001", "40P01", "55P03"}  # Serialization, deadlock, lock timeout.
# The same of MariaDB and MySQL; 1020 is "changed since last read", under snapshots.
_NUMBERS = {1020, 1205, 1213}
_DUPLICATE = 1062
_PLAIN = {str, bytes, int, type(None)}  # Parameters as they are.
_NATIVE = {*_PLAIN, UUID}
MOST_KEPT = 10  # Cursors of a thread, and one.


def fetch(
    connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any] = ()
) -> list[tuple[Any, ...]]:
    """The rows that a statement finds."""
    with connection.cursor() as cursor:
        cursor.execute(sql, list(params))
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


class _Kept(threading.local):
    """The cursors of this thread that are used again."""

    def __init__(self) -> None:
        self._connection: object = None
        self._raw: object = None  # The driver's own.
        self._cursors: dict[str, Any] = {}

    def by_text(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        # A cursor is told when it is made whether queries are logged, and making one
        # looks after a connection that is idle.
        if connection.queries_logged or not connection.in_atomic_block:
            return {}
        raw, is_full = connection.connection, len(self._cursors) > MOST_KEPT
        if self._raw is not raw or self._connection is not connection or is_full:
            self._connection, self._raw, self._cursors = connection, raw, {}
        return self._cursors


_kept = _Kept()


def execute_again(
    connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any]
) -> Any:
    """
    Execute one of our own few texts; returns the cursor, to be read at once.

    Within a transaction, this thread keeps the cursor for the next time that it sends
    the text. To make one costs as much as to send a small statement, and so does what
    psycopg finds out about parameters: a new cursor has to find it out again.
    """
    cursors = _kept.by_text(connection)
    cursor = cursors.get(sql)
    if cursor is None:
        cursor = cursors[sql] = connection.cursor()
    cursor.execute(sql, params)
    return cursor


def is_transient(error: BaseException) -> bool:
    """
    Whether the same statement may well succeed in a moment, on this connection.

    After a deadlock, a lock that was held too long, or a race that was lost.
    """
    if not isinstance(error, DatabaseError):
        return False
    # The number comes first: MariaDB's state for most of its errors says nothing.
    number = error.args[0] if error.args else None
    if isinstance(number, int):
        return number in _NUMBERS
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if state is not None:
        return state in _SQLSTATES
    return "database is locked" in str(error) or "table is locked" in str(error)


def claim_once(
    connection: BaseDatabaseWrapper,
    table: str,
    *,
    values: Mapping[str, Any],
    unique: Sequence[str],
) -> bool:
    """
    Insert a row, unless one with the same values in the ``unique`` columns exists.

    Says whether it was inserted. Two that claim at once wait for each other: the second
    is told only when the first has committed. Every other violation raises, and breaks
    the transaction. Values may be UUIDs, aware datetimes and ``DatabaseNow()``.
    """
    native = connection.features.has_native_uuid_field
    params = list(values.values())
    marks = ["%s"] * len(params)
    # At once, as a rule: each event that is handled comes by.
    if not (_NATIVE if native else _PLAIN).issuperset(map(type, params)):
        for place, value in enumerate(values.values()):
            if isinstance(value, DatabaseNow):
                seconds = f"{value.seconds:.6f}" if value.seconds else ""
                marks[place] = now_sql(connection, seconds)
            else:
                params[place] = _stored(value, connection)
        params = [value for value in params if not isinstance(value, DatabaseNow)]
    sql = _insert(connection.vendor, table, tuple(values), tuple(marks), tuple(unique))
    try:
        cursor = execute_again(connection, sql, params)
    except Exception as error:
        if (
            isinstance(error, IntegrityError)
            and error.args[0] == _DUPLICATE
            and _exists(connection, table, {name: values[name] for name in unique})
        ):
            return False
        # Not around it, for the same reason.
        with transaction.mark_for_rollback_on_error(using=connection.alias):
            raise
    return connection.vendor == "mysql" or bool(cursor.rowcount)


@lru_cache
def _insert(vendor: str, table: str, *names: tuple[str, ...]) -> str:
    columns, marks, unique = names
    quote = ("`{}`" if vendor == "mysql" else '"{}"').format
    sql = (
        f"INSERT INTO {quote(table)} ({', '.join(map(quote, columns))}) "
        f"VALUES ({', '.join(marks)})"
    )
    if vendor == "mysql":
        return sql
    # Not INSERT and an error: that would break PostgreSQL's transaction.
    return f"{sql} ON CONFLICT ({', '.join(map(quote, unique))}) DO NOTHING"


def _exists(
    connection: BaseDatabaseWrapper, table: str, key: Mapping[str, Any]
) -> bool:
    quote = connection.ops.quote_name
    where = " AND ".join(f"{quote(name)} = %s" for name in key)
    # A locking read: under REPEATABLE READ, another one would not see the latest.
    sql = f"SELECT 1 FROM {quote(table)} WHERE {where} LOCK IN SHARE MODE"
    params = [_stored(value, connection) for value in key.values()]
    return bool(fetch(connection, sql, params))


def _stored(value: Any, connection: BaseDatabaseWrapper) -> Any:
    if isinstance(value, UUID):
        return value if connection.features.has_native_uuid_field else value.hex
    return stored(value, connection) if isinstance(value, datetime) else value
