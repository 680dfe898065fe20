"""A session in one database of a move, and the words of all sides."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler.clock import now_sql
from django_strangler.databases import fetch, is_transient
from django_strangler.moves.exceptions import Busy
from django_strangler.moves.models import Gate, Mark, Side

Key: TypeAlias = tuple[Any, ...]  # Whole numbers and texts, as JSON can hold them.
Values: TypeAlias = tuple[Any, ...]
Bound: TypeAlias = Key | None
Names: TypeAlias = Sequence[str]
Keys: TypeAlias = Sequence[Key]
Rows: TypeAlias = Sequence[Values]

GATE, SIDE, MARK = (each._meta.db_table for each in (Gate, Side, Mark))


class Session:
    """Statements in one database, on this thread's connection."""

    def __init__(self, move: str, connection: BaseDatabaseWrapper) -> None:
        self.move = move
        self.connection = connection
        self.alias = connection.alias
        self._known: dict[tuple[str, str], Any] = {}

    def remembered(self, what: str, table: str) -> Any:
        """``columns``, ``key`` or ``uniques``, looked up once by this object."""
        if (what, table) not in self._known:
            self._known[what, table] = getattr(self, what)(table)
        return self._known[what, table]

    def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[Values]:
        """The rows that a statement finds."""
        return fetch(self.connection, sql, params)

    def run(self, sql: str, params: Sequence[Any] | None = None) -> int:
        """Run a statement; says how many rows it touched."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            return int(cursor.rowcount)

    def quote(self, *names: str) -> str:
        """Names as SQL, with commas between."""
        return ", ".join(map(self.connection.ops.quote_name, names))

    def _now(self) -> str:
        return now_sql(self.connection).replace("%%", "%")

    @contextmanager
    def busy(self) -> Iterator[None]:
        """A lock that cannot be had in time becomes ``Busy``."""
        try:
            yield
        except DatabaseError as error:
            if not self.is_busy(error):
                raise
            raise Busy(f"Another transaction holds a lock: {error}") from error

    def is_busy(self, error: DatabaseError) -> bool:
        """Whether it says so."""
        return is_transient(error)


def encoded(key: Key) -> str:
    """A key as marks and books hold it."""
    return json.dumps(list(key), ensure_ascii=False)


def decoded(text: str) -> Key:
    """The key of a mark."""
    return tuple(json.loads(text))


def plain(key: Sequence[Any]) -> Key:
    """A key as a mark would hold it, whatever the driver has made of it."""
    return tuple(part if isinstance(part, int) else str(part) for part in key)


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Parts of a sequence."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
