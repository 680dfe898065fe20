"""What all sides do alike; what differs is a method of their own."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias
from zlib import crc32

from django.db import DatabaseError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler.clock import now_sql, seconds_until_sql
from django_strangler.databases import fetch, is_transient
from django_strangler.moves.exceptions import Busy, Fenced
from django_strangler.moves.models import Gate, Mark
from django_strangler.moves.models import Side as SideRow

Key: TypeAlias = tuple[Any, ...]  # Whole numbers and texts, as JSON can hold them.
Values: TypeAlias = tuple[Any, ...]
Bound: TypeAlias = Key | None
Names: TypeAlias = Sequence[str]
Keys: TypeAlias = Sequence[Key]
Rows: TypeAlias = Sequence[Values]

GATE, SIDE, MARK = (each._meta.db_table for each in (Gate, SideRow, Mark))
IDLE = 3  # Seconds: a mover that is stopped inside a transaction must not hold locks.
PATIENCE = 5  # Seconds for a lock that other movers hold.
COUNTED = 100_000  # Rows: where there are fewer, counting them is no trouble.
# By event: which rows a trigger of it sees.
SEEN = {"insert": ("NEW",), "update": ("OLD", "NEW"), "delete": ("OLD",)}
_FAMILIES = (
    ("bool", r"bool|tinyint\(1\)"),
    ("interval", r"interval"),
    ("int", r"(big|small|medium|tiny)?(int|serial)"),
    ("decimal", r"decimal|numeric"),
    ("float", r"double|real|float"),
    ("bytes", r"bytea|.*blob|.*binary"),
    ("datetime", r"timestamp|datetime"),
    ("date", r"date"),
    ("time", r"time"),
    ("uuid", r"uuid"),
    ("json", r"json"),
    ("text", r".*char|.*text|enum|citext"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column as the database describes it."""

    name: str
    type: str
    required: bool = False  # Neither NULL nor a default.
    generated: bool = False
    auto: bool = False  # Numbered by the database.
    collation: str = ""

    @property
    def family(self) -> str:
        """What kind of values it holds."""
        return next(
            (
                family
                for family, pattern in _FAMILIES
                if re.match(pattern, self.type.lower())
            ),
            "other",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A foreign key."""

    name: str
    table: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    cascades: bool = False  # It changes rows of the table by itself.


def encoded(key: Key) -> str:
    """A key as marks and books hold it."""
    return json.dumps(list(key), ensure_ascii=False)


def decoded(text: str) -> Key:
    """The key of a mark."""
    return tuple(json.loads(text))


class DatabaseSide(ABC):
    """One database of a move, on this thread's connection."""

    kind: ClassVar[str]
    prefix = "strangler_move_"  # Of triggers.
    at_once: ClassVar[int] = 1000  # Keys in a statement; rows half as many.

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

    # Statements

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

    # Transactions of a mover

    @contextmanager
    def writing(self, epoch: int | None = None) -> Iterator[None]:
        """
        A transaction past the fence, in which nobody else moves rows to here.

        With an epoch: if that is over, it raises ``Fenced`` and nothing is written.
        """
        self._before(snapshot=False)
        try:
            with transaction.atomic(using=self.alias, durable=True):
                self._begin()
                if epoch is not None:
                    self._lock(epoch)
                yield
                self._end()
        finally:
            self._after()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """A transaction in which all reads see the same state, that of the first."""
        self._before(snapshot=True)
        try:
            with transaction.atomic(using=self.alias, durable=True):
                self._begin_snapshot()
                yield
        finally:
            self._after()

    @abstractmethod
    def _before(self, *, snapshot: bool) -> None:
        """What comes before BEGIN."""

    @abstractmethod
    def _begin(self) -> None:
        """Let this transaction pass the fence, and end if its process is stopped."""

    def _begin_snapshot(self) -> None:  # noqa: B027  Not every kind needs it.
        """What comes right after BEGIN."""

    def _end(self) -> None:  # noqa: B027
        """Before COMMIT: what else would be committed."""

    def _after(self) -> None:  # noqa: B027
        """What a rollback leaves."""

    def _lock(self, epoch: int) -> None:
        found = self.locked()
        if found is None or found[0] != epoch:
            raise Fenced(
                f"The side {self.alias!r} of the move {self.move!r} is another than "
                "it was: it has been opened, or the move has ended. Nothing is lost."
            )

    def advance(self, epoch: int) -> None:
        """Let it be that epoch, which is locked."""
        self.run(f"UPDATE {SIDE} SET epoch = %s WHERE move = %s", [epoch, self.move])

    def locked(self) -> tuple[int, int] | None:
        """Epoch and when it was opened, for this transaction alone."""
        rows = self.fetch(
            f"SELECT epoch, opened FROM {SIDE} WHERE move = %s FOR UPDATE", [self.move]
        )
        return (int(rows[0][0]), int(rows[0][1])) if rows else None

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

    # Gate and side

    def standing(self) -> tuple[int, int] | None:
        """Epoch and when it was opened; None before the move has begun."""
        rows = self.fetch(
            f"SELECT epoch, opened FROM {SIDE} WHERE move = %s", [self.move]
        )
        return (int(rows[0][0]), int(rows[0][1])) if rows else None

    def is_closed(self) -> bool:
        """Whether writers are refused, without a lock."""
        rows = self.fetch(f"SELECT closed FROM {GATE} WHERE move = %s", [self.move])
        return bool(rows[0][0]) if rows else True

    def establish(self, *, closed: bool, opened: int) -> None:
        """
        Write gate and side down, before there are triggers.

        Of an earlier move of that name the counts go on: who remembers it is fenced.
        """
        with transaction.atomic(using=self.alias, durable=True):
            if self.locked() is None:
                self.run(
                    f"INSERT INTO {SIDE} (move, epoch, opened) VALUES (%s, 1, %s)",
                    [self.move, opened],
                )
                self.run(
                    f"INSERT INTO {GATE} (move, closed, mover) VALUES (%s, %s, %s)",
                    [self.move, closed, False],
                )
            else:
                self._turn(", opened = %s", opened)
                self._set_gate(closed)
            self.forget_marks()

    @abstractmethod
    def enter(self) -> bool:
        """
        Keep this side as it is until the transaction ends; says whether it is open.

        What each writing statement's trigger does as well.
        """

    def close(self, timeout: float) -> int:
        """
        Wait for those who write, and let nobody begin; ``Busy`` if it takes longer.

        Without a timeout it is now or not, and nobody queues behind it. Returns the
        token to reopen with; closing again takes it from others.
        """
        with self.busy(), transaction.atomic(using=self.alias, durable=True):
            self._exclude(timeout)
            self._set_gate(True)
            self._turn()
            found = self.standing()
        if found is None:
            raise Fenced(f"The move {self.move!r} has ended.")
        return found[0]

    @abstractmethod
    def _exclude(self, timeout: float) -> None:
        """Take the lock that writers share."""

    def reopen(self, token: int) -> None:
        """Take a closing back, unless another switch has closed it since."""
        with self.writing(token):
            self._set_gate(False)

    def open(self, epoch: int, *, over: int) -> None:
        """Become the side that has the truth: newer than ``over``."""
        with self.writing(epoch):
            self._turn(", opened = %s", over + 1)
            self._set_gate(False)

    def revoke(self, *, over: int) -> None:
        """Let nobody open it who thinks of doing so now."""
        with self.writing():
            found = self.locked()
            if found is None or found[1] > over:
                raise Fenced(f"The side {self.alias!r} has been opened meanwhile.")
            self._turn()

    def _turn(self, also: str = "", *values: int) -> None:
        """A new epoch: nobody goes on who has read the one before."""
        sql = f"UPDATE {SIDE} SET epoch = epoch + 1{also} WHERE move = %s"
        self.run(sql, [*values, self.move])

    def _set_gate(self, closed: bool) -> None:
        self.run(f"UPDATE {GATE} SET closed = %s WHERE move = %s", [closed, self.move])

    # Marks

    def marks(self, most: int) -> list[tuple[int, str, Key]]:
        """The oldest ones: number, table, key."""
        rows = self.fetch(
            f"SELECT id, tab, {self.quote('key')} FROM {MARK} WHERE move = %s "
            "ORDER BY id LIMIT %s",
            [self.move, most],
        )
        return [(number, tab, decoded(key)) for number, tab, key in rows]

    @abstractmethod
    def delete_marks(self, numbers: Sequence[int]) -> None:
        """Exactly these, without waiting for those of open transactions."""

    def forget_marks(self) -> None:
        """All of the move."""
        self.run(f"DELETE FROM {MARK} WHERE move = %s", [self.move])

    def marked(self, tab: str, keys: Keys) -> set[Key]:
        """Which of these have a mark."""
        found: set[Key] = set()
        for part in chunks(keys, 500):
            marks = ", ".join(["%s"] * len(part))
            rows = self.fetch(
                f"SELECT DISTINCT {self.quote('key')} FROM {MARK} WHERE move = %s "
                f"AND tab = %s AND {self._normal_key()} IN ({marks})",
                [self.move, tab, *map(self._normal, part)],
            )
            found.update(decoded(key) for (key,) in rows)
        return found

    # JSON is written with spaces here and without there.
    def _normal_key(self) -> str:
        return f"REPLACE({self.quote('key')}, ' ', '')"

    def _normal(self, key: Key) -> str:
        return encoded(key).replace(" ", "")

    def lag(self) -> tuple[int, float]:
        """How many marks there are (100,000 at most), and the age of the oldest."""
        rows = self.fetch(
            f"SELECT COUNT(*) FROM (SELECT 1 AS one FROM {MARK} WHERE move = %s "
            "LIMIT 100000) AS marks",
            [self.move],
        )
        return int(rows[0][0]), self.age()

    def age(self) -> float:
        """Of the oldest mark, in seconds; 0 if there is none."""
        rows = self.fetch(
            f"SELECT {seconds_until_sql(self.connection, 'at')} FROM {MARK} "
            "WHERE move = %s ORDER BY id LIMIT 1",
            [self.move],
        )
        return max(0.0, -float(rows[0][0])) if rows else 0.0

    def _now(self) -> str:
        return now_sql(self.connection).replace("%%", "%")

    # Triggers

    @abstractmethod
    def install(self, table: str, tab: str, key: Names) -> None:
        """Fence and marks, in one step that gives up rather than stall writers."""

    @abstractmethod
    def uninstall(self, table: str) -> None:
        """Take them away again, if they are there."""

    @abstractmethod
    def is_installed(self, table: str) -> bool:
        """Whether they are all there, and as they must be."""

    def trigger(self, table: str, event: str) -> str:
        """A trigger's name: it says what it belongs to."""
        name = f"{self.prefix}{table}"
        if len(name) > 50:
            name = f"{name[:40]}_{crc32(name.encode()):08x}"
        return f"{name}_{event}"

    # What a database is like

    @abstractmethod
    def columns(self, table: str) -> dict[str, Column]:
        """Its columns, in their order; none if there is no such table."""

    @abstractmethod
    def key(self, table: str) -> tuple[str, ...]:
        """The columns of the primary key."""

    @abstractmethod
    def foreign_keys(self) -> list[Foreign]:
        """Those of all tables."""

    @abstractmethod
    def uniques(self, table: str) -> list[tuple[str, ...]]:
        """The columns of each unique index besides the primary key."""

    @abstractmethod
    def next_number(self, table: str, column: str) -> int:
        """The number that the next row would get."""

    @abstractmethod
    def skip_numbers(self, table: str, column: str, number: int) -> None:
        """Let the next row get at least this number."""

    def numbers_before(self) -> int:
        """How far ahead numbers are skipped before closing; 0: it is done after."""
        return 0

    def estimated_rows(self, table: str) -> int:
        """About how many rows there are."""
        if (told := self._told_rows(table)) > COUNTED:
            return told
        return int(self.fetch(f"SELECT COUNT(*) FROM {self.quote(table)}")[0][0])

    def _told_rows(self, table: str) -> int:
        """How many the catalogue tells of; 0 if it does not know."""
        return 0

    def lacking(self, tables: Names) -> Iterator[tuple[str, str]]:
        """What this role may not do and has to, and what to GRANT."""
        yield from ()

    def lacking_to_number(self, table: str, column: str) -> Iterator[tuple[str, str]]:
        """The same, for a switch that skips numbers of this column."""
        yield from ()

    def role(self) -> str:
        """Who this is, as GRANT names it."""
        return ""

    def obstacles(self, tables: Names) -> Iterator[str]:
        """What is in the way on this kind of database."""
        yield from ()

    def tidy(self) -> None:  # noqa: B027
        """Let the table of marks stay small, where deleted rows stay."""

    def replica_lag(self) -> float:
        """How far the slowest replica is behind, where the database knows."""
        return 0.0

    # Rows

    def rows_after(
        self, table: str, columns: Names, key: Names, after: Bound, most: int
    ) -> list[Values]:
        """The next rows in the order of the key."""
        where, params = self.between(key, after, None)
        return self.fetch(
            f"SELECT {self.selected(columns)} FROM {self.quote(table)}{where} "
            f"ORDER BY {self.quote(*key)} LIMIT %s",
            [*params, most],
        )

    def bound(
        self, table: str, key: Names, after: Bound, rows: int, upto: Bound = None
    ) -> Bound:
        """The key so many rows further on; None beyond the last, or ``upto``."""
        where, params = self.between(key, after, upto)
        found = self.fetch(
            f"SELECT {self.selected(key)} FROM {self.quote(table)}{where} "
            f"ORDER BY {self.quote(*key)} LIMIT 1 OFFSET %s",
            [*params, rows - 1],
        )
        return plain(found[0]) if found else None

    def keys_between(
        self, table: str, key: Names, after: Bound, upto: Bound
    ) -> list[Key]:
        """The keys of a range; it ends with ``upto``."""
        where, params = self.between(key, after, upto)
        rows = self.fetch(
            f"SELECT {self.selected(key)} FROM {self.quote(table)}{where} "
            f"ORDER BY {self.quote(*key)}",
            params,
        )
        return [plain(row) for row in rows]

    def rows_of(
        self, table: str, columns: Names, key: Names, keys: Keys
    ) -> list[Values]:
        """The rows with these keys."""
        found: list[Values] = []
        for part in chunks(keys, self.at_once):
            where, params = self._among(table, key, part)
            found += self.fetch(
                f"SELECT {self.selected(columns)} FROM {self.quote(table)} "
                f"WHERE {where}",
                params,
            )
        return found

    def delete(self, table: str, key: Names, keys: Keys) -> None:
        """Let there be no rows with these keys."""
        for part in chunks(keys, self.at_once):
            where, params = self._among(table, key, part)
            self.run(f"DELETE FROM {self.quote(table)} WHERE {where}", params)

    def _among(self, table: str, key: Names, keys: Keys) -> tuple[str, list[Any]]:
        """A condition: to have one of these keys."""
        one, names = ", ".join(["%s"] * len(key)), self.quote(*key)
        if len(key) > 1:
            one, names = f"({one})", f"({names})"
        return (
            f"{names} IN ({', '.join([one] * len(keys))})",
            [part for each in keys for part in each],
        )

    def write(self, table: str, columns: Names, key: Names, rows: Rows) -> None:
        """Let these rows be as they are here, whatever they were before."""
        self._insert(table, columns, rows, self._conflict(columns, key))

    def _conflict(self, columns: Names, key: Names) -> str:
        rest = [each for each in columns if each not in key]
        sets = ", ".join(f"{self.quote(c)} = EXCLUDED.{self.quote(c)}" for c in rest)
        what = f"UPDATE SET {sets}" if rest else "NOTHING"
        return f"ON CONFLICT ({self.quote(*key)}) DO {what}"

    def _insert(
        self, table: str, columns: Names, rows: Rows, end: str, override: str = ""
    ) -> None:
        one = f"({', '.join(['%s'] * len(columns))})"
        for part in chunks(rows, self.at_once // 2):
            self.run(
                f"INSERT INTO {self.quote(table)} ({self.quote(*columns)}) {override} "
                f"VALUES {', '.join([one] * len(part))} {end}",
                [value for row in part for value in row],
            )

    @abstractmethod
    def digest(
        self, table: str, columns: Names, key: Names, after: Bound, upto: Bound
    ) -> Values:
        """A number of rows and a sum over all values; the same for the same rows."""

    def selected(self, columns: Names) -> str:
        """Columns for SELECT."""
        return self.quote(*columns)

    def between(self, key: Names, after: Bound, upto: Bound) -> tuple[str, list[Any]]:
        """A WHERE for a range of keys, or nothing."""
        parts, params = [], []
        for bound, sign in ((after, ">"), (upto, "<=")):
            if bound is not None:
                sql, values = self._compared(key, sign, bound)
                parts.append(sql)
                params += values
        return (f" WHERE {' AND '.join(parts)}" if parts else ""), params

    def _compared(self, key: Names, sign: str, bound: Key) -> tuple[str, list[Any]]:
        # Spelled out: MariaDB uses no index for (a, b) > (x, y).
        first = self.quote(key[0])
        if len(key) == 1:
            return f"{first} {sign} %s", [bound[0]]
        rest, params = self._compared(key[1:], sign, bound[1:])
        return (
            f"({first} {sign[0]}= %s AND ({first} {sign[0]} %s OR {rest}))",
            [bound[0], bound[0], *params],
        )


def plain(key: Sequence[Any]) -> Key:
    """A key as a mark would hold it, whatever the driver has made of it."""
    return tuple(part if isinstance(part, int) else str(part) for part in key)


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Parts of a sequence."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
