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
from django_strangler.databases import is_transient

from .backoff import backoff
from .dialect import Dialect, id_list
from .lanes import LANES
from .models import Lane
from .rows import FOREVER, Due, Reach, aware_converter, decode

NOBODY = 0  # No row has this id.
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
        wait = seconds_until_sql(connection, "retry_at")
        self._wait = (
            f"CASE WHEN parked_at IS NOT NULL THEN {FOREVER} "
            f"WHEN retry_at IS NOT NULL THEN {wait} END"
        )

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

    def read(self, reach: Reach, limit: int) -> list[Due]:
        """
        The lowest pending events, but for the rows and keys that are left out.

        They may be sent in this order: an older id may have committed since the last
        read, and with it, in a later transaction, its successor.
        """
        sql = self._sql
        not_keys, params = sql.not_keys(reach.without_keys)
        return self._select(
            f"{sql.by_queue} WHERE confirmed_at IS NULL AND parked_at IS NULL"
            f"{_among_lanes(reach.lanes)}{sql.not_rows(reach.without_rows)}{not_keys} "
            f"AND available_at IS NULL ORDER BY {sql.in_order} LIMIT {int(limit)}",
            params,
            sql.key,
        )

    def read_part(self, reach: Reach, limit: int, part: tuple[int, int]) -> list[Due]:
        """
        The lowest of the ids above the first and up to the second that may be sent.

        With each, what is pending of its key right before it, without those rows: that
        has to go first. What follows something else, below the part or of a type that
        is left out, stays in the database; what follows that is for the caller to throw
        away. One snapshot shows it all, and what an event follows has committed before.
        """
        sql, (after, upto) = self._sql, map(int, part)
        within = [row for row in reach.without_rows if after < row <= upto]
        types = reach.without_types
        not_keys, keys = sql.not_keys(reach.without_keys)
        where = _among_lanes(reach.lanes) + sql.not_rows(within, "o.")
        where += sql.not_types(types) + not_keys
        stops = "" if reach.parked_hold else "(b.parked_at IS NULL) IS TRUE AND "
        held = sql.not_types(types, "b.")
        older = (
            f"CASE WHEN {sql.key} <> '' THEN (SELECT "
            f"CASE WHEN b.id > {after}{held} THEN b.id ELSE {NOBODY} END "
            f"FROM {self._table} b{sql.by_key} "
            f"WHERE {sql.same_key('b', 'o')} AND {sql.unconfirmed('b')} "
            f"AND {stops}(b.available_at IS NULL) IS TRUE AND b.id < o.id"
            f"{sql.not_rows(reach.without_rows, 'b.')} ORDER BY b.id DESC LIMIT 1) END"
        )
        rows = self._fetch(
            sql.unless(
                f"SELECT {sql.columns}, {sql.key}, {self._wait}, {older} AS older "
                f"FROM {self._table} o{sql.by_part_of_queue} "
                f"WHERE confirmed_at IS NULL AND parked_at IS NULL{where} "
                f"AND id > {after} AND id <= {upto} AND available_at IS NULL",
                f"older = {NOBODY}",
                f"ORDER BY {sql.in_order}",
                f"LIMIT {int(limit)}",
            ),
            [*types, *types, *keys],
        )
        return decode(rows, self.connection)

    def edge(self, after: int, count: int) -> tuple[int | None, int]:
        """
        The id up to which there are ``count`` pending events above ``after``.

        None if there are fewer. And the highest id of all: so far everything is seen
        that had committed by now.
        """
        sql = self._sql
        [(edge, highest)] = self._fetch(
            f"SELECT (SELECT id FROM {self._table}{sql.by_part_of_queue} "
            "WHERE confirmed_at IS NULL AND parked_at IS NULL "
            f"AND available_at IS NULL AND id > {int(after)} "
            f"ORDER BY {sql.in_order} LIMIT 1 OFFSET {int(count) - 1}), "
            f"(SELECT MAX(id) FROM {self._table})"
        )
        return edge, highest or 0

    def oldest(self, reach: Reach, rows: Collection[int]) -> dict[int, int]:
        """
        For each of these rows, the oldest pending one of its key, in whatever lane.

        A row that is its key's oldest may be sent. Asked after they were found: what an
        event follows has committed before it.
        """
        if not rows:
            return {}
        sql = self._sql
        stops = "" if reach.parked_hold else "(b.parked_at IS NULL) IS TRUE AND "
        return dict(
            self._fetch(
                f"SELECT c.id, (SELECT b.id FROM {self._table} b{sql.by_key} "
                f"WHERE {sql.same_key('b', 'c')} AND {sql.unconfirmed('b')} AND "
                f"{stops}(b.available_at IS NULL) IS TRUE"
                f"{sql.not_rows(reach.without_rows, 'b.')} ORDER BY b.id LIMIT 1) "
                f"FROM {self._table} c{sql.by_id} WHERE {sql.among('c.id', rows)}"
            )
        )

    def has_parked(self) -> bool:
        """Whether a parked event may hold its key."""
        return bool(
            self._fetch(
                f"SELECT 1 FROM {self._table}{self._sql.by_queue} "
                "WHERE confirmed_at IS NULL AND parked_at IS NOT NULL LIMIT 1"
            )
        )

    def read_keys(self, reach: Reach, keys: Collection[str], limit: int) -> list[Due]:
        """
        What is pending of these keys, oldest first, of any type.

        With ``parked_hold`` also what is parked: it waits without end.
        """
        sql = self._sql
        condition, param = sql.look_alikes(keys)
        stops = "" if reach.parked_hold else " AND (parked_at IS NULL) IS TRUE"
        return self._select(
            f" o{sql.by_key} WHERE {condition} AND {sql.unconfirmed('o')}{stops} "
            f"AND (available_at IS NULL) IS TRUE{_among_lanes(reach.lanes)}"
            # The sum keeps planners from walking the primary key.
            f"{sql.not_rows(reach.without_rows)} ORDER BY (id + 0) LIMIT {int(limit)}",
            [param],
            sql.key,
        )

    def read_rows(self, lanes: Collection[int], rows: Collection[int]) -> list[Due]:
        """Those of these rows that are still pending, and due."""
        sql = self._sql
        return self._select(
            f"{sql.by_id} WHERE {sql.among('id', rows)} AND {_PENDING} AND "
            f"(parked_at IS NULL) IS TRUE{_among_lanes(lanes)} AND "
            f"(available_at IS NULL OR available_at <= {sql.moment()}) ORDER BY id",
            [],
            f"CASE WHEN available_at IS NULL THEN {sql.key} ELSE '' END",
        )

    def read_type(
        self, reach: Reach, type: str, limit: int, *, after: int
    ) -> list[Due]:
        """The oldest pending events of one type; ``oldest`` has to be asked as well."""
        sql = self._sql
        return self._select(
            f"{sql.by_part_of_queue} WHERE confirmed_at IS NULL AND parked_at IS NULL "
            f"AND available_at IS NULL AND id > {int(after)}"
            f"{_among_lanes(reach.lanes)} AND type = %s"
            f"{sql.not_rows(reach.without_rows)} "
            f"ORDER BY {sql.in_order} LIMIT {int(limit)}",
            [type],
            sql.key,
        )

    def read_delayed(self, reach: Reach, limit: int, only_type: str = "") -> list[Due]:
        """Delayed events whose time has come; they stand outside the order."""
        where = _among_lanes(reach.lanes) + self._sql.not_rows(reach.without_rows)
        types = [only_type] if only_type else reach.without_types
        where += " AND type = %s" if only_type else self._sql.not_types(types)
        return self._select(
            f"{self._sql.by_queue} WHERE confirmed_at IS NULL AND parked_at IS NULL"
            f"{where} AND available_at <= {self._sql.moment()} "
            f"ORDER BY {self._sql.in_delayed_order} LIMIT {int(limit)}",
            types,
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

    def _select(self, where: str, params: Collection[Any], order_key: str) -> list[Due]:
        rows = self._fetch(
            f"SELECT {self._sql.columns}, {order_key}, {self._wait}, NULL "
            f"FROM {self._table}{where}",
            params,
        )
        return decode(rows, self.connection)

    def _from_uuid(self, value: UUID) -> Any:
        return UUIDField().get_db_prep_value(value, self.connection)

    def _fetch(self, sql: str, params: Collection[Any] = ()) -> list[tuple[Any, ...]]:
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
                if self.connection.in_atomic_block or not is_transient(error):
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
