"""
The relay's SQL for reading; ``marking`` has the rest.

Plain SQL rather than the ORM, because this is the path of every event: a read is one
statement and one snapshot.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler.clock import seconds_until_sql

from .dialect import PENDING, Dialect, id_list
from .lanes import LANES
from .rows import FOREVER, Due, Reach, decode

NOBODY = 0  # No row has this id.


class Store:
    """Reads outbox rows. All statements are short and lock no publisher."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self._sql = Dialect(connection)
        self._table = self._sql.table
        wait = seconds_until_sql(connection, "retry_at")
        self._wait = (
            f"CASE WHEN parked_at IS NOT NULL THEN {FOREVER} "
            f"WHEN retry_at IS NOT NULL THEN {wait} END"
        )

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
                f"AND id > {sql.unseen(after)} AND id <= {sql.unseen(upto)} "
                "AND available_at IS NULL",
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
            f"AND available_at IS NULL AND id > {sql.unseen(after)} "
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
            f"{sql.by_id} WHERE {sql.among('id', rows)} AND {PENDING} AND "
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
            f"AND available_at IS NULL AND id > {sql.unseen(after)}"
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

    def _select(self, where: str, params: Collection[Any], order_key: str) -> list[Due]:
        rows = self._fetch(
            f"SELECT {self._sql.columns}, {order_key}, {self._wait}, NULL "
            f"FROM {self._table}{where}",
            params,
        )
        return decode(rows, self.connection)

    def _fetch(self, sql: str, params: Collection[Any] = ()) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql, list(params))
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows


def _among_lanes(lanes: Collection[int]) -> str:
    if len(lanes) == LANES:
        return ""
    return f" AND lane IN ({id_list(sorted(lanes)) or 'NULL'})"
