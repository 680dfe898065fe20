"""
The relay's SQL for marking, on its own connection.

Plain SQL rather than the ORM, because this is the path of every event: a mark is one
statement in autocommit for a whole batch.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import UUIDField

from django_strangler.clock import now_sql, stored
from django_strangler.databases import fetch, is_transient

from .backoff import backoff
from .dialect import PENDING, Dialect, id_list
from .models import Lane
from .rows import aware_converter

REPEATS = 5  # Of a mark that met a deadlock.


class Marks:
    """Marks outbox rows, and deletes them. No statement locks a publisher."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self._sql = Dialect(connection)
        self._table = self._sql.table

    def prepare(self) -> None:
        """
        Set the session up; again after each reconnect.

        Nothing of it outlives the connection, which the relay closes in the end.
        """
        connection = self.connection
        if connection.in_atomic_block:
            return
        if not connection.get_autocommit():
            connection.set_autocommit(True)
        if connection.vendor == "mysql":
            # Under REPEATABLE READ a mark would lock the gaps that publishers insert
            # into. PostgreSQL's only meet errors there, which are repeated.
            self._execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")

    def confirm(self, rows: Iterable[int]) -> int:
        """A fact: it needs no lease, and may be repeated."""
        return self._mark(
            f"UPDATE {self._table}{self._sql.by_id} "
            f"SET confirmed_at = {now_sql(self.connection)}, "
            f"parked_at = NULL, parked_reason = '' "
            f"WHERE {self._sql.among('id', rows)} AND {PENDING}"
        )

    def delete(self, rows: Iterable[int]) -> int:
        """Confirm without keeping, for a RETENTION of 0."""
        return self._mark(self._sql.delete(rows, ""))

    def prune(self, rows: Iterable[int], older_than: float) -> int:
        """Delete those that are confirmed, and were that many seconds ago."""
        old = f" AND o.confirmed_at < {self._sql.moment(-older_than)}"
        return self._mark(self._sql.delete(rows, old))

    def old(
        self, older_than: float, limit: int, *, since: datetime | None = None
    ) -> list[tuple[int, datetime]]:
        """Rows that were confirmed that many seconds ago, and when; oldest first."""
        where, params = f"confirmed_at < {self._sql.moment(-older_than)}", []
        if since is not None:
            where += " AND confirmed_at >= %s"
            params.append(stored(since, self.connection))
        aware = aware_converter(self.connection)
        rows = fetch(
            self.connection,
            f"SELECT id, confirmed_at FROM {self._table} WHERE {where} "
            f"ORDER BY confirmed_at, parked_at, available_at, id LIMIT {int(limit)}",
            params,
        )
        return [(row, aware(confirmed_at)) for row, confirmed_at in rows]

    def retry(
        self, rows: Sequence[int], *, error: str, seconds: float, token: UUID
    ) -> int:
        """An opinion: after this refusal, the event waits."""
        later = now_sql(self.connection, f"{seconds:.6f}")
        return self._opinion(
            f"attempts = attempts + 1, last_error = %s, retry_at = {later}, "
            # A delayed event is found by its time.
            f"available_at = CASE WHEN available_at IS NULL THEN NULL ELSE {later} END",
            [error],
            rows,
            token,
        )

    def park(self, rows: Sequence[int], *, reason: str, error: str, token: UUID) -> int:
        """An opinion: it cannot be delivered."""
        return self._opinion(
            f"attempts = attempts + 1, last_error = %s, parked_reason = %s, "
            f"parked_at = {now_sql(self.connection)}",
            [error, reason],
            rows,
            token,
        )

    def parked_among(self, rows: Sequence[int]) -> set[int]:
        """Which of these rows are parked."""
        found = fetch(
            self.connection,
            f"SELECT id FROM {self._table} WHERE id IN ({id_list(rows)}) "
            "AND confirmed_at IS NULL AND parked_at IS NOT NULL",
        )
        return {row for (row,) in found}

    def _opinion(
        self, assignments: str, params: list[Any], rows: Sequence[int], token: UUID
    ) -> int:
        # Only while the lease is ours and the row is pending: another relay may know
        # better by now.
        lane = self.connection.ops.quote_name(Lane._meta.db_table)
        return self._mark(
            f"UPDATE {self._table}{self._sql.by_id} SET {assignments} "
            f"WHERE {self._sql.among('id', rows)} "
            f"AND {PENDING} AND parked_at IS NULL AND EXISTS "
            f"(SELECT 1 FROM {lane} WHERE {lane}.number = {self._table}.lane "
            f"AND {lane}.relay = %s)",
            [*params, UUIDField().get_db_prep_value(token, self.connection)],
        )

    def _mark(self, sql: str, params: Sequence[Any] = ()) -> int:
        failures = 0
        while True:
            try:
                return self._execute(sql, params)
            except DatabaseError as error:
                failures += 1
                if self.connection.in_atomic_block or not is_transient(error):
                    raise
                if failures > REPEATS:
                    raise
                time.sleep(backoff(failures, first=0.005, most=0.1))

    def _execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, list(params))
            return int(cursor.rowcount)
