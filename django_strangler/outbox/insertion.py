"""
Writing rows: one INSERT for one event, or for a few hundred.

Plain SQL rather than the ORM, because this is the price of publishing: compiling a
``save()`` of sixteen columns costs as much as PostgreSQL's own work, and
``bulk_create`` gives up its fast path when a time is the database's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler import counting
from django_strangler.clock import aware, now_sql, stored
from django_strangler.databases import fetch
from django_strangler.events import Event, Header

from .models import OutboxEvent

ROWS = 500  # Per statement; fewer where a database allows fewer parameters.
BYTES = 4 * 1024 * 1024  # Well under MariaDB's max_allowed_packet.

published = counting.counter(
    "events_published",
    "Written to the outbox by this process, rolled back later or not.",
)


class Row(NamedTuple):
    """What publishing writes; every other column has its default in the database."""

    event_id: UUID
    type: str
    key: str
    lane: int
    body: str
    size: int
    headers: dict[str, Header]
    correlation_id: str

    def as_event(self, published_at: datetime | None) -> Event:
        """The value that was published."""
        return Event(
            id=self.event_id,
            type=self.type,
            payload=json.loads(self.body),
            key=self.key,
            headers=self.headers,
            correlation_id=self.correlation_id,
            published_at=published_at,
        )


def insert(
    connection: BaseDatabaseWrapper,
    row: Row,
    available_at: float | datetime | None = None,
) -> datetime | None:
    """Write one row; return the database's time of it, where INSERT can."""
    params = _params(row)
    columns, value = "", ""
    if available_at is not None:
        columns = ", available_at"
        if isinstance(available_at, datetime):
            value = ", %s"
            params.append(stored(available_at, connection))
        else:
            value = f", {now_sql(connection, f'{available_at:.6f}')}"
    return _execute(
        connection,
        f"{_into(connection, columns)} VALUES "
        f"({_MARKS}, {now_sql(connection)}{value}){_returning(connection)}",
        params,
        1,
    )[0]


def insert_many(
    connection: BaseDatabaseWrapper, rows: Sequence[Row]
) -> list[datetime | None]:
    """Write many rows, in this order."""
    limit = connection.features.max_query_params
    most = min(ROWS, limit // len(Row._fields)) if limit else ROWS
    times: list[datetime | None] = []
    # One transaction, also where the caller has none: all of them or none.
    with transaction.atomic(using=connection.alias, savepoint=False):
        for part in _parts(rows, most):
            given = [_params(row) for row in part]
            if connection.vendor == "postgresql":
                # Arrays are parsed and planned quicker than a long list of VALUES.
                values = f"SELECT *, {now_sql(connection)} FROM UNNEST({_ARRAYS})"
                params: list[Any] = [
                    list(column) for column in zip(*given, strict=True)
                ]
            else:
                one = f"({_MARKS}, {now_sql(connection)})"
                values = f"VALUES {', '.join([one] * len(part))}"
                params = [value for row in given for value in row]
            times += _execute(
                connection,
                f"{_into(connection)} {values}{_returning(connection)}",
                params,
                len(part),
            )
    return times


def find(
    connection: BaseDatabaseWrapper, event_id: UUID
) -> tuple[Row, datetime | None] | None:
    """The row with this id, as far as this connection's snapshot shows it."""
    quote = connection.ops.quote_name
    names = ", ".join(map(quote, Row._fields))
    found = fetch(
        connection,
        f"SELECT {names}, published_at FROM {quote(OutboxEvent._meta.db_table)} "
        "WHERE event_id = %s",
        [event_id.hex],
    )
    if not found:
        return None
    *values, published_at = found[0]
    row = Row(*values)
    headers: Any = row.headers  # As text, from every driver that Django sets up.
    row = row._replace(event_id=event_id, headers=json.loads(headers))
    return row, aware(published_at, connection)


_MARKS = ", ".join(["%s"] * len(Row._fields))
_ARRAYS = (
    "%s::uuid[], %s::text[], %s::text[], %s::smallint[], %s::text[], %s::integer[], "
    "%s::jsonb[], %s::text[]"
)


def _into(connection: BaseDatabaseWrapper, more: str = "") -> str:
    quote = connection.ops.quote_name
    names = ", ".join(map(quote, Row._fields))
    table = quote(OutboxEvent._meta.db_table)
    return f"INSERT INTO {table} ({names}, published_at{more})"


def _returning(connection: BaseDatabaseWrapper) -> str:
    features = connection.features
    return " RETURNING published_at" if features.can_return_columns_from_insert else ""


def _params(row: Row) -> list[Any]:
    # An id without dashes is right for a native uuid and for char(32) alike.
    event_id, type, key, lane, body, size, headers, correlation_id = row
    return [event_id.hex, type, key, lane, body, size, _dump(headers), correlation_id]


def _execute(
    connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any], rows: int
) -> list[datetime | None]:
    # As the ORM does: whoever catches this error inside atomic() cannot go on.
    with (
        transaction.mark_for_rollback_on_error(using=connection.alias),
        connection.cursor() as cursor,
    ):
        cursor.execute(sql, params)
        published.add(n=rows)
        if not connection.features.can_return_columns_from_insert:
            return [None] * rows
        return [aware(time, connection) for (time,) in cursor.fetchall()]


def _parts(rows: Sequence[Row], most: int) -> Iterator[list[Row]]:
    part: list[Row] = []
    size = 0
    for row in rows:
        if part and (len(part) == most or size + row.size > BYTES):
            yield part
            part, size = [], 0
        part.append(row)
        size += row.size
    yield part


_dump = json.JSONEncoder(separators=(",", ":")).encode
