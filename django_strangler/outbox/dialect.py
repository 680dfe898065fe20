"""How each database wants the relay's SQL to be written."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler.clock import now_sql

from .models import INDEX, INDEX_NAME, KEY_INDEX_NAME, OutboxEvent

# Written so that no index fits it. With statistics of a quiet hour, a planner takes few
# rows for pending, and would go through all of a new backlog at each mark.
PENDING = "(confirmed_at IS NULL) IS TRUE"
LARGE = 16 * 1024  # Bodies over this are fetched when their turn comes.


def id_list(rows: Iterable[int]) -> str:
    """As text, not as parameters: databases limit the number of those."""
    return ",".join(map(str, map(int, rows)))


def in_index_order(vendor: str, known: int) -> tuple[str, ...]:
    """
    What to order rows by in which so many of the index's first columns are NULL.

    So each sees that it can walk the index and stop after the limit: PostgreSQL wants
    all its columns, and else walks the primary key over every confirmed row; MariaDB
    wants those after the ones that are NULL, and else sorts all the pending rows.
    """
    return INDEX[known:] if vendor == "mysql" else INDEX


class Dialect:
    """Pieces of statements for one connection; asks nothing of the database."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._vendor = vendor = connection.vendor
        quote = connection.ops.quote_name
        self.table = quote(OutboxEvent._meta.db_table)
        self.key = quote("key")
        self.in_order = ", ".join(in_index_order(vendor, 3))
        self.in_delayed_order = ", ".join(in_index_order(vendor, 2))
        # PostgreSQL converts both quicker than the driver does.
        event_id, published_at = "event_id", "published_at"
        if vendor == "postgresql":
            event_id = "CAST(event_id AS text)"
            published_at = "CAST(EXTRACT(EPOCH FROM published_at) * 1000000 AS bigint)"
        self.columns = (
            f"id, {event_id}, type, {self.key}, "
            f"CASE WHEN size <= {LARGE} THEN body END, size, headers, correlation_id, "
            f"{published_at}, attempts, lane"
        )
        # Under a case-insensitive or padding collation, a held key would hold its
        # look-alikes.
        exact = "CAST(CONVERT({} USING utf8mb4) AS BINARY)"
        self._exact = exact.format if vendor == "mysql" else str
        # Or SQLite, once it has statistics, walks over every confirmed row.
        self.by_queue = f" INDEXED BY {INDEX_NAME}" if vendor == "sqlite" else ""
        # Of a part of the queue, MariaDB would walk over all, or the primary key.
        hints = {"sqlite": " INDEXED BY {}", "mysql": " FORCE INDEX ({})"}
        hint = hints.get(vendor, "")
        self.by_part_of_queue = hint.format(INDEX_NAME)
        self.by_key = hint.format(KEY_INDEX_NAME)
        # Or the optimizer reads a small table from end to end, waiting for publishers.
        self.by_id = " FORCE INDEX (PRIMARY)" if vendor == "mysql" else ""

    def moment(self, seconds: float = 0.0) -> str:
        """A time to compare a column with."""
        now = now_sql(self._connection, f"{seconds:.6f}" if seconds else "")
        # For a volatile function PostgreSQL would read every row; a subquery is asked
        # once, and its answer looked up in the index.
        return f"(SELECT {now})" if self._vendor == "postgresql" else now

    def unseen(self, row: int) -> str:
        """
        An id to compare with, of which statistics tell nothing.

        They are older than what is pending, and a number above all that they know has
        PostgreSQL go through the primary key, and sort, all that is there by now.
        """
        return f"(SELECT {int(row)})" if self._vendor == "postgresql" else str(int(row))

    def among(self, column: str, rows: Iterable[int]) -> str:
        """These rows, in the order in which everybody else locks rows as well."""
        ids = id_list(sorted(rows))
        if self._vendor == "postgresql":
            # One constant is parsed and planned quicker than hundreds.
            return f"{column} = ANY('{{{ids}}}'::bigint[])"
        return f"{column} IN ({ids})"

    def not_rows(self, rows: Collection[int], row: str = "") -> str:
        """All but these rows."""
        if not rows:
            return ""
        if self._vendor == "postgresql":
            # One constant is parsed quicker than thousands, and is hashed; as a
            # subquery also by PostgreSQL 14.
            given = f"SELECT UNNEST('{{{id_list(rows)}}}'::bigint[])"
            return f" AND {row}id NOT IN ({given})"
        # The sum keeps MariaDB from making a thousand ranges of it.
        column = f"({row}id + 0)" if self._vendor == "mysql" else f"{row}id"
        return f" AND {column} NOT IN ({id_list(rows)})"

    def unconfirmed(self, row: str) -> str:
        """For the index by key; the other conditions fit no index."""
        if self._vendor == "mysql":
            return f"{row}.confirmed_at IS NULL"
        null = f"{row}.confirmed_at IS NULL"
        if self._vendor == "postgresql":
            null = f"({null}) IS TRUE"
        return f"{null} AND {row}.{self.key} <> ''"

    def same_key(self, row: str, other: str) -> str:
        """Whether both have the same key, and not only look alike."""
        key, same = f"{row}.{self.key}", f"{other}.{self.key}"
        if self._vendor != "mysql":
            return f"{key} = {same}"
        return f"{key} = {same} AND {self._exact(key)} = {self._exact(same)}"

    def look_alikes(self, keys: Collection[str]) -> tuple[str, Any]:
        """
        A condition and its only parameter, for databases limit their number.

        By index: with the keys come those that look alike.
        """
        if self._vendor == "mysql":
            return f"{self.key} IN %s", tuple(keys)
        return self._keys(keys, "IN", "= ANY")

    def not_types(self, types: Collection[str], row: str = "") -> str:
        """All but these types, which are the parameters."""
        marks = ", ".join(["%s"] * len(types))
        return f" AND {row}type NOT IN ({marks})" if types else ""

    def unless(self, select: str, condition: str, order: str, limit: str) -> str:
        """Without the rows of which this is true; it may name columns by alias."""
        wanted = f"({condition}) IS NOT TRUE"
        if self._vendor == "mysql":
            return f"{select} HAVING {wanted} {order} {limit}"
        # The inner limit keeps PostgreSQL from asking for each alias twice.
        inner = f"{select} {order} LIMIT {10**9}"
        return f"SELECT * FROM ({inner}) p WHERE {wanted} {limit}"

    def not_keys(self, keys: Collection[str]) -> tuple[str, list[Any]]:
        """All but these keys, exactly, and the parameters of that."""
        if not keys:
            return "", []
        condition, param = self._keys(keys, "NOT IN", "<> ALL")
        return f" AND {condition}", [param]

    def _keys(self, keys: Collection[str], word: str, array: str) -> tuple[str, Any]:
        key = self._exact(self.key)
        if self._vendor == "postgresql":
            return f"{key} {array}(%s)", list(keys)
        if self._vendor == "mysql":
            return f"{key} {word} %s", tuple(keys)
        return f"{key} {word} (SELECT value FROM json_each(%s))", json.dumps([*keys])

    def delete(self, rows: Iterable[int], condition: str) -> str:
        """Delete those of these rows, called o, for which the condition holds."""
        if self._vendor != "mysql":
            among = self.among("o.id", rows)
            return f"DELETE FROM {self.table} AS o WHERE {among}{condition}"
        # DELETE takes no index hint, and would read a small table from end to end,
        # waiting for each publisher on the way.
        wanted = " UNION ALL ".join(f"SELECT {row} AS id" for row in sorted(rows))
        return (
            f"DELETE o FROM ({wanted}) AS w STRAIGHT_JOIN {self.table} AS o "
            f"ON o.id = w.id{condition}"
        )
