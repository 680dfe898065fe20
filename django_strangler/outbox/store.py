"""
The relay's SQL: what it reads and what it marks, on one connection.

Plain SQL rather than the ORM, because this is the path of every event: a read is one
statement and one snapshot, a mark is one statement in autocommit for a whole batch.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import UUIDField

from django_strangler.clock import now_sql, seconds_until_sql, stored

from .backoff import backoff
from .dialect import Dialect, id_list
from .lanes import LANES
from .models import Lane
from .passing import is_passing
from .rows import Due, aware_converter, decode

REPEATS = 5  # Of a mark that met a deadlock.
# Written so that no index fits it. With statistics of a quiet hour, a planner takes few
# rows for pending, and would go through all of a new backlog at each mark.
_PENDING = "(confirmed_at IS NULL) IS TRUE"


class Store:
    """Reads and marks outbox rows. All statements are short and lock no publisher."""

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
        if self.connection.vendor == "mysql":
            # Under REPEATABLE READ a mark would lock the gaps that publishers insert
            # into. PostgreSQL's only meet errors there, which are repeated.
            self._execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")

    # Reading

    def read(
        self,
        lanes: Collection[int],
        limit: int,
        *,
        without_rows: Collection[int] = (),
        without_keys: Collection[str] = (),
        without_types: Collection[str] = (),
        parked_hold: bool = False,
    ) -> list[Due]:
        """
        The lowest pending events of these lanes, but for what is in memory already.

        Always from the lowest on: an older id may have committed since the last read,
        and with it, in a later transaction, its successor. Of the types left out, no
        event is overtaken by another of its key.
        """
        sql = self._sql
        where = _among_lanes(lanes) + sql.not_rows(without_rows)
        where += sql.not_types(without_types)
        params: list[Any] = [*without_types]
        if without_keys:
            condition, param = sql.not_keys(without_keys)
            where += f" AND {condition}"
            params.append(param)
        if parked_hold:
            where += (
                f" AND {sql.exact_key} NOT IN (SELECT {sql.exact_key} "
                f"FROM {self._table} WHERE confirmed_at IS NULL AND "
                f"parked_at IS NOT NULL AND available_at IS NULL AND {sql.key} <> '')"
            )
        due = self._select(
            f"{where} AND available_at IS NULL ORDER BY {sql.in_order} "
            f"LIMIT {int(limit)}",
            params,
            sql.key,
        )
        if not without_types:
            return due
        # Asked afterwards: whatever an event found above follows, is committed by now.
        ahead = self._pending_of(without_types, {event.order_key for event, _ in due})
        return [each for each in due if each.event.order_key not in ahead]

    def _pending_of(self, types: Collection[str], keys: set[str]) -> set[str]:
        """Those of these keys for which an event of these types is pending."""
        keys.discard("")
        if not keys:
            return set()
        condition, param = self._sql.among_keys(keys)
        found = self._fetch(
            f"SELECT MIN({self._sql.key}) FROM {self._table} "
            "WHERE confirmed_at IS NULL AND parked_at IS NULL AND available_at IS NULL "
            f"AND type IN ({', '.join(['%s'] * len(types))}) AND {condition} "
            f"GROUP BY {self._sql.exact_key}",
            [*types, param],
        )
        return {key for (key,) in found}

    def read_delayed(
        self,
        lanes: Collection[int],
        limit: int,
        *,
        without_rows: Collection[int] = (),
        without_types: Collection[str] = (),
    ) -> list[Due]:
        """Delayed events whose time has come; they stand outside the order."""
        where = _among_lanes(lanes) + self._sql.not_rows(without_rows)
        where += self._sql.not_types(without_types)
        return self._select(
            f"{where} AND available_at <= {self._sql.moment()} "
            f"ORDER BY {self._sql.in_delayed_order} LIMIT {int(limit)}",
            [*without_types],
            "''",
        )

    def bodies(self, rows: Iterable[int]) -> dict[int, str]:
        """The bodies of large events."""
        wanted = f"WHERE id IN ({id_list(rows)})"
        return dict(self._fetch(f"SELECT id, body FROM {self._table} {wanted}"))

    # Marking

    def confirm(self, rows: Iterable[int]) -> int:
        """A fact: it needs no lease, and may be repeated."""
        return self._mark(
            f"UPDATE {self._table}{self._sql.by_id} "
            f"SET confirmed_at = {now_sql(self.connection)}, "
            f"parked_at = NULL, parked_reason = '' "
            f"WHERE {self._sql.among('id', rows)} AND {_PENDING}"
        )

    def delete(self, rows: Iterable[int]) -> int:
        """Confirm without keeping, for a RETENTION of 0."""
        return self._delete(rows)

    def prune(self, rows: Iterable[int], older_than: float) -> int:
        """Delete those that are confirmed, and were that many seconds ago."""
        return self._delete(
            rows, f" AND o.confirmed_at < {self._sql.moment(-older_than)}"
        )

    def old(
        self, older_than: float, limit: int, *, since: datetime | None = None
    ) -> list[tuple[int, datetime]]:
        """Rows that were confirmed that many seconds ago, and when; oldest first."""
        where, params = f"confirmed_at < {self._sql.moment(-older_than)}", []
        if since is not None:
            where += " AND confirmed_at >= %s"
            params.append(stored(since, self.connection))
        aware = aware_converter(self.connection)
        rows = self._fetch(
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
        found = self._fetch(
            f"SELECT id FROM {self._table} WHERE id IN ({id_list(rows)}) "
            "AND confirmed_at IS NULL AND parked_at IS NOT NULL"
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
            f"AND {_PENDING} AND parked_at IS NULL AND EXISTS "
            f"(SELECT 1 FROM {lane} WHERE {lane}.number = {self._table}.lane "
            f"AND {lane}.relay = %s)",
            [*params, self._from_uuid(token)],
        )

    def _delete(self, rows: Iterable[int], condition: str = "") -> int:
        return self._mark(self._sql.delete(rows, condition))

    # Plumbing

    def _select(self, where: str, params: Sequence[Any], order_key: str) -> list[Due]:
        wait = seconds_until_sql(self.connection, "retry_at")
        rows = self._fetch(
            f"SELECT {self._sql.columns}, {order_key}, "
            f"CASE WHEN retry_at IS NULL THEN NULL ELSE {wait} END "
            f"FROM {self._table}{self._sql.by_queue} "
            f"WHERE confirmed_at IS NULL AND parked_at IS NULL{where}",
            params,
        )
        return decode(rows, self.connection)

    def _from_uuid(self, value: UUID) -> Any:
        return UUIDField().get_db_prep_value(value, self.connection)

    def _fetch(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, list(params))
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    def _mark(self, sql: str, params: Sequence[Any] = ()) -> int:
        failures = 0
        while True:
            try:
                return self._execute(sql, params)
            except DatabaseError as error:
                failures += 1
                if self.connection.in_atomic_block or not is_passing(error):
                    raise
                if failures > REPEATS:
                    raise
                time.sleep(backoff(failures, first=0.005, most=0.1))

    def _execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, list(params))
            return int(cursor.rowcount)


def _among_lanes(lanes: Collection[int]) -> str:
    if len(lanes) == LANES:
        return ""
    return f" AND lane IN ({id_list(sorted(lanes)) or 'NULL'})"
