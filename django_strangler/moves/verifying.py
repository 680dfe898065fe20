"""
Verifying: under the destination's lock, every key without a mark is equal.

Nobody syncs while the lock is held, and marks go only after the destination has
committed: so a difference is a fact, also under load, and nothing is looked at twice.
Ranges are compared without it, where both are of one kind by digests inside the
databases: that only says where to look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NamedTuple

from .directions import Direction
from .sides import Key, Values, side_of
from .sides.session import chunks, plain
from .ways import Way

RANGE = 20_000  # Rows of a step where nothing else is to be done,
NARROW = 500  # of each part of it where digests differ,
EXACT = 1000  # and that are compared by value at a time.


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A row that is not the same on both sides."""

    tab: str
    key: Key
    kind: str  # differs, missing, extra
    fields: tuple[str, ...] = ()  # Columns of the destination.


class Position(NamedTuple):
    """Where a comparison of all tables is; the books hold it as JSON."""

    table: int = 0
    extra: bool = False  # Looking for rows that only the destination has.
    after: Sequence[Any] | None = None  # A key.


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What one step has seen."""

    next: Position | None  # None: that was all.
    rows: int
    found: tuple[Found, ...]


def step(
    direction: Direction,
    position: Position,
    beside: Executor | None = None,
    *,
    most: int = RANGE,
) -> Compared:
    """
    Compare the next range; the two sides at once, if there is a thread for it.

    ``most`` are its rows: what is written meanwhile, is followed afterwards only.
    """
    ways = list(direction.ways.values())
    known = tuple(position.after) if position.after is not None else None
    if position.table >= len(ways):
        return Compared(next=None, rows=0, found=())
    way = ways[position.table]
    by_digest = way.is_plain and way.has_one_order
    if by_digest:
        after, rows, found = _by_digest(direction, way, known, most, beside)
    elif position.extra:
        after, rows, found = _extra(direction, way, known, most)
    else:
        after, rows, found = _by_value(direction, way, known, most)
    if after is not None:
        following = position._replace(after=after)
    elif by_digest or position.extra:
        following = Position(table=position.table + 1)
    else:
        following = Position(table=position.table, extra=True)
    is_last = following.table >= len(ways)
    return Compared(next=None if is_last else following, rows=rows, found=tuple(found))


def everything(
    direction: Direction, beside: Executor | None = None
) -> Iterator[Compared]:
    """All tables, range by range."""
    position: Position | None = Position()
    while position is not None:
        compared = step(direction, position, beside)
        yield compared
        position = compared.next


def compare(direction: Direction, way: Way, keys: Sequence[Key]) -> list[Found]:
    """What is not equal of these, by value."""
    found: list[Found] = []
    for part in chunks(keys, EXACT):
        direction.keep()
        found += _exactly(direction, way, part)
    return found


def _exactly(direction: Direction, way: Way, keys: Sequence[Key]) -> list[Found]:
    with direction.target.writing(direction.epoch):
        with direction.source.snapshot():
            rows = way.source.rows_of(way.name, way.read, way.key, keys)
        found = list(_unequal(way, keys, rows))
        # After the rows: what has changed since has its mark by now. And of these only:
        # no index serves a search by key, and the lock is held meanwhile.
        pending = way.source.marked(way.tab, [each.key for each in found])
    return [each for each in found if each.key not in pending]


def _suspects(way: Way, keys: Sequence[Key]) -> list[Key]:
    """Which are not equal now, without the lock: that may mean nothing."""
    rows = way.source.rows_of(way.name, way.read, way.key, keys)
    return [each.key for each in _unequal(way, keys, rows)]


def _unequal(way: Way, keys: Sequence[Key], rows: Sequence[Values]) -> Iterator[Found]:
    """What is not the same there as these rows, marked or not."""
    columns, expected = way.convert(rows)
    columns = columns or way.key_there
    number = len(columns)
    there = way.target.rows_of(
        way.into,
        [*columns, *way.key_there],
        way.key_there,
        [way.key_to(key) for key in keys],
    )
    actual = {plain(row[number:]): row[:number] for row in there}
    wanted = {way.key_of(row): made for row, made in zip(rows, expected, strict=True)}
    for key in dict.fromkeys([*wanted, *keys]):
        made, found = wanted.get(key), actual.get(way.key_to(key))
        if made is None or found is None:
            if made is not found:
                kind = "extra" if made is None else "missing"
                yield Found(tab=way.tab, key=key, kind=kind)
        elif fields := way.differing(columns, made, found):
            yield Found(tab=way.tab, key=key, kind="differs", fields=tuple(fields))


def _by_digest(
    direction: Direction,
    way: Way,
    after: Key | None,
    most: int,
    beside: Executor | None,
) -> tuple[Key | None, int, list[Found]]:
    upto = way.source.bound(way.name, way.key, after, most)
    rows, same = _same(way, after, upto, beside)
    if same:
        return upto, rows, []
    suspects: list[Key] = []
    start = after
    while True:
        end = way.source.bound(way.name, way.key, start, NARROW, upto) or upto
        if not _same(way, start, end, beside)[1]:
            keys = way.source.keys_between(way.name, way.key, start, end)
            there = way.target.keys_between(way.into, way.key_there, start, end)
            suspects += _suspects(way, list(dict.fromkeys([*keys, *there])))
        if end == upto:
            return upto, rows, compare(direction, way, suspects)
        start = end


def _same(
    way: Way, after: Key | None, upto: Key | None, beside: Executor | None
) -> tuple[int, bool]:
    def there() -> Values:
        # Of this thread: another one has another connection.
        side = side_of(way.target.move, way.target.alias)
        return side.digest(way.into, written, way.key_there, after, upto)

    written = way.written
    other = beside.submit(there) if beside is not None else None
    here = way.source.digest(way.name, way.read, way.key, after, upto)
    theirs = other.result() if other is not None else there()
    return int(here[0]), tuple(here) == tuple(theirs)


def _by_value(
    direction: Direction, way: Way, after: Key | None, most: int
) -> tuple[Key | None, int, list[Found]]:
    number = 0
    suspects: list[Key] = []
    while number < most:
        rows = way.source.rows_after(way.name, way.read, way.key, after, EXACT)
        keys = [way.key_of(row) for row in rows]
        suspects += [each.key for each in _unequal(way, keys, rows)]
        number += len(keys)
        after = keys[-1] if len(keys) == EXACT else None
        if after is None:
            break
    # The lock, which movers want, once for all that has to be looked at with it.
    return after, number, compare(direction, way, suspects)


def _extra(
    direction: Direction, way: Way, after: Key | None, most: int
) -> tuple[Key | None, int, list[Found]]:
    """Rows that only the destination has, in its own order."""
    back = Way(direction.move, way.table, way.target, way.source)
    rows = way.target.rows_after(way.into, way.key_there, way.key_there, after, most)
    there = [plain(row) for row in rows]
    keys = {back.key_to(key): key for key in there}
    known = way.source.rows_of(way.name, way.key, way.key, list(keys))
    odd = keys.keys() - {plain(row) for row in known}
    found = compare(direction, way, sorted(odd, key=str))
    return (there[-1] if len(there) == most else None), 0, found
