"""
The one verb: let rows in the destination be as they are in the source.

Lock the destination and compare its epoch; then read the source afresh; write what is
there, delete what is not; commit. As each sync reads after it has the lock, a later one
always writes a later state: neither order, repetition, two movers nor the death of one
can do harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from django.db import IntegrityError

from .directions import Direction
from .exceptions import MoveRefused
from .sides import Key, Values
from .sides.postgresql import PostgreSQL
from .sides.session import chunks, plain
from .ways import Way

Wanted: TypeAlias = dict[str, list[Key]]
AT_ONCE = 20_000  # Marks that are read.
MOST = 50_000  # Rows that one sync may draw in.
DEPTH = 20


def sync(direction: Direction, wanted: Mapping[str, Iterable[Key]]) -> int:
    """Sync these keys by table; says how many rows there were."""
    keys = {tab: list(dict.fromkeys(some)) for tab, some in wanted.items() if some}
    try:
        return _sync(direction, keys, widen=False)
    except IntegrityError:
        # What collides has changed as well, and is not of this part.
        return _sync(direction, keys, widen=True)


def copy_page(
    direction: Direction, way: Way, after: Key | None, most: int
) -> tuple[int, Key | None]:
    """Sync the next rows of a table in the order of its key; the last one's key."""
    try:
        with direction.target.writing(direction.epoch):
            with direction.source.snapshot():
                if (poured := _poured(way, after, most)) is not None:
                    return poured
                rows = way.source.rows_after(way.name, way.read, way.key, after, most)
            if rows:
                columns, there = way.convert(rows)
                way.target.write(way.into, columns, way.key_there, there)
        return len(rows), way.key_of(rows[-1]) if rows else None
    except IntegrityError:
        rows = way.source.rows_after(way.name, way.key, way.key, after, most)
        keys = [plain(row) for row in rows]
        for part in chunks(keys, 500):
            sync(direction, {way.tab: list(part)})
        return len(keys), keys[-1] if keys else None


def _poured(way: Way, after: Key | None, most: int) -> tuple[int, Key | None] | None:
    """The same without Python's values, where one text fits both."""
    source, target = way.source, way.target
    if not (
        way.is_plain
        and isinstance(source, PostgreSQL)
        and isinstance(target, PostgreSQL)
    ):
        return None
    here = way.name, way.read, way.key
    there = way.into, way.written, way.key_there
    return source.pour(here, target, there, after, most)


def follow(
    direction: Direction, chunk: int, most: int = AT_ONCE
) -> tuple[int, dict[str, set[Key]]]:
    """Sync what marks name, oldest first; how many marks, and whose."""
    direction.keep()
    marks = direction.source.marks(most)
    numbers: dict[tuple[str, Key], list[int]] = {}
    for number, tab, key in marks:
        numbers.setdefault((tab, key), []).append(number)
    followed: dict[str, set[Key]] = {}
    for part in chunks(list(numbers), chunk):
        direction.keep()
        wanted: Wanted = {}
        for tab, key in part:
            wanted.setdefault(tab, []).append(key)
        sync(direction, wanted)
        # Exactly those, and only now: whatever dies before, they are synced again.
        direction.source.delete_marks([n for pair in part for n in numbers[pair]])
        for tab, keys in wanted.items():
            followed.setdefault(tab, set()).update(keys)
    return len(marks), followed


def _sync(direction: Direction, wanted: Wanted, *, widen: bool) -> int:
    for tab in wanted:
        if tab not in direction.ways:
            raise MoveRefused(
                f"There are marks of {tab}, which the move {direction.move.name!r} "
                "no longer has. Bring it back, or abandon the move."
            )
    with direction.target.writing(direction.epoch):
        with direction.source.snapshot():
            colliding: Wanted = {}
            if widen:
                colliding = _widened(direction, wanted)
            found = {
                tab: _rows(direction.ways[tab], keys) for tab, keys in wanted.items()
            }
        order = [tab for tab in direction.ways if tab in wanted]
        for tab in reversed(order):  # Children before their parents.
            way = direction.ways[tab]
            there = {way.key_of(row) for row in found[tab]}
            gone = [way.key_to(key) for key in wanted[tab] if key not in there]
            way.target.delete(way.into, way.key_there, [*gone, *colliding.get(tab, ())])
        for tab in order:
            way = direction.ways[tab]
            if found[tab]:
                columns, rows = way.convert(found[tab])
                way.target.write(way.into, columns, way.key_there, rows)
    return sum(map(len, found.values()))


def _rows(way: Way, keys: Sequence[Key]) -> list[Values]:
    return way.source.rows_of(way.name, way.read, way.key, keys)


def _widened(direction: Direction, wanted: Wanted) -> Wanted:
    """
    Draw in what collides: parents that are missing, children of what goes, and rows
    that hold a unique value which is another's now. Returns those to be deleted first.

    In the source all of it holds at one moment, the snapshot's. So what collides there
    has changed as well: to sync it with the others is right, and enough.
    """
    neighbours = _Neighbours(direction)
    for _ in range(DEPTH):
        grown = False
        for tab, keys in list(wanted.items()):
            for other, found in neighbours.of(direction.ways[tab], keys):
                known = set(wanted.get(other, ()))
                new = [key for key in found if key not in known]
                wanted.setdefault(other, []).extend(new)
                grown = grown or bool(new)
        if not grown:
            return {tab: list(keys) for tab, keys in neighbours.colliding.items()}
        if sum(map(len, wanted.values())) > MOST:
            break
    raise MoveRefused(
        f"Rows of the move {direction.move.name!r} collide in the target, and too many "
        "others with them. Look for a constraint there that the source does not have: "
        f"manage.py strangler_moves check {direction.move.name}"
    )


class _Neighbours:
    """Who stands in whose way, in the destination."""

    def __init__(self, direction: Direction) -> None:
        self.colliding: dict[str, set[Key]] = {}  # As they are called there.
        self._ways = direction.ways
        self._by_table = {way.into: way for way in direction.ways.values()}
        self._foreign = [
            each
            for each in direction.target.foreign_keys()
            if each.table in self._by_table and each.parent in self._by_table
        ]
        self._backs = {
            tab: Way(direction.move, way.table, way.target, way.source)
            for tab, way in direction.ways.items()
        }

    def of(self, way: Way, keys: Sequence[Key]) -> Iterator[tuple[str, set[Key]]]:
        """By table: the keys that have to be synced with these."""
        columns, rows = way.convert(_rows(way, keys))
        made = [dict(zip(columns, row, strict=True)) for row in rows]
        yield way.tab, self._holders(way, columns, made)
        here = {_key(way, row) for row in made}
        gone = {way.key_to(key) for key in keys} - here
        gone |= self.colliding.get(way.tab, set())
        for each in self._foreign:
            if each.table == way.into and set(each.columns) <= set(columns):
                above = self._by_table[each.parent]
                if each.parent_columns == above.key_there:
                    parents = {
                        tuple(row[name] for name in each.columns) for row in made
                    }
                    yield above.tab, self._here(above.tab, parents)
            if each.parent == way.into and gone:
                below = self._by_table[each.table]
                children = way.target.rows_of(
                    below.into, below.key_there, each.columns, list(gone)
                )
                yield below.tab, self._here(below.tab, children)

    def _holders(
        self, way: Way, columns: Sequence[str], made: Sequence[Mapping[str, object]]
    ) -> set[Key]:
        """Rows that hold what is another's now."""
        found: set[Key] = set()
        for unique in way.target.uniques(way.into):
            if not set(unique) <= set(columns):
                continue
            owners = {
                plain([row[name] for name in unique]): _key(way, row)
                for row in made
                if all(row[name] is not None for name in unique)
            }
            held = way.target.rows_of(
                way.into, [*unique, *way.key_there], unique, list(owners)
            )
            for each in held:
                key = plain(each[len(unique) :])
                if owners.get(plain(each[: len(unique)])) != key:
                    found.add(key)
        self.colliding.setdefault(way.tab, set()).update(found)
        return self._here(way.tab, found)

    def _here(self, tab: str, keys: Iterable[Sequence[object]]) -> set[Key]:
        """As they are called in the source."""
        back = self._backs[tab]
        return {back.key_to(plain(key)) for key in keys if None not in key}


def _key(way: Way, row: Mapping[str, object]) -> Key:
    return plain([row[name] for name in way.key_there])
