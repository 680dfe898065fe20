"""
Rules of moves broken on purpose: a torture that does not find these finds nothing.

    python -m tests.torture --moves --mutant no-epoch --kills 12

Each is patched into movers, switches and ``start`` as they begin; no source is touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

PAUSE = 0.03  # Seconds, between what must not lie apart.


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    what: str
    apply: Callable[[], None]
    faults: tuple[str, ...]  # Those that can show it.


MUTANTS: dict[str, Mutant] = {}


def mutant(
    name: str, *faults: str
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def register(apply: Callable[[], None]) -> Callable[[], None]:
        MUTANTS[name] = Mutant(what=apply.__doc__ or "", apply=apply, faults=faults)
        return apply

    return register


@mutant(
    "read-first",
    "a mover sleeps before a transaction",
    "kill a mover",
)
def read_first() -> None:
    """A sync reads before it has the lock."""
    from django_strangler.moves import syncing
    from django_strangler.moves.sides.base import DatabaseSide

    sync, copy_page, lock = syncing._sync, syncing.copy_page, DatabaseSide._lock
    before: dict[Any, Any] = {}

    def late(self: Any, epoch: int) -> None:
        time.sleep(PAUSE)
        lock(self, epoch)

    def read(way: Any, keys: Any) -> Any:
        known = before.get((way.tab, tuple(keys)))
        return rows(way, keys) if known is None else known

    rows = syncing._rows

    def sync_what_was_read(direction: Any, wanted: Any, *, widen: bool) -> int:
        before.clear()
        with direction.source.snapshot():
            for tab, keys in wanted.items():
                before[tab, tuple(keys)] = rows(direction.ways[tab], keys)
        try:
            return sync(direction, wanted, widen=widen)
        finally:
            before.clear()

    def copy_what_was_read(direction: Any, way: Any, after: Any, most: int) -> Any:
        page = way.source.rows_after(way.name, way.read, way.key, after, most)
        real = way.source.rows_after
        way.source.rows_after = lambda *args: page
        try:
            return copy_page(direction, way, after, most)
        finally:
            way.source.rows_after = real

    syncing._poured = lambda way, after, most: None  # It reads by itself.
    syncing._rows = read
    syncing._sync = sync_what_was_read
    syncing.copy_page = copy_what_was_read
    DatabaseSide._lock = late  # type: ignore[method-assign]


@mutant(
    "marks-first",
    "kill a mover",
    "kill all movers",
    "cut the movers' connections",
)
def marks_first() -> None:
    """Marks are deleted before what they name is committed."""
    from django_strangler.moves import syncing
    from django_strangler.moves.sides import mariadb, postgresql

    sync = syncing.sync

    def forget_and_sync(direction: Any, wanted: Any) -> int:
        marks = direction.source.marks(syncing.AT_ONCE)
        meant = {(tab, key) for tab, keys in wanted.items() for key in keys}
        numbers = [n for n, tab, key in marks if (tab, key) in meant]
        delete(direction.source, numbers)
        time.sleep(PAUSE)
        return sync(direction, wanted)

    originals = {
        cls: cls.delete_marks for cls in (postgresql.PostgreSQL, mariadb.MariaDB)
    }

    def delete(side: Any, numbers: Any) -> None:
        originals[type(side)](side, numbers)

    for cls in originals:
        cls.delete_marks = lambda self, numbers: None  # type: ignore[method-assign]
    syncing.sync = forget_and_sync


@mutant(
    "python-fence",
    "kill a mover",
    "a switch dies at a point",
)
def python_fence() -> None:
    """Triggers mark, and refuse nothing; only moves.atomic looks at the gate."""
    from django_strangler.moves.sides import mariadb, postgresql

    _replace(postgresql, "_OPEN", "NOT closed", "true")
    _replace(mariadb, "_TRIGGER", "SIGNAL SQLSTATE", "SET @refused = 1; -- ")
    _replace(mariadb, "_TRIGGER", "        'The move", "        -- 'The move")


@mutant(
    "no-epoch",
    "kill all movers",
    "a mover sleeps through a switch",
)
def no_epoch() -> None:
    """The destination is locked, and its epoch not compared."""
    from django_strangler.moves.sides.base import DatabaseSide

    def lock(self: Any, epoch: int) -> None:
        time.sleep(PAUSE)
        self.locked()

    DatabaseSide._lock = lock  # type: ignore[method-assign]


@mutant(
    "marked-movers",
    "kill a mover",
)
def marked_movers() -> None:
    """What a mover writes is marked as well."""
    from django_strangler.moves.sides import mariadb, postgresql

    is_mover = (
        "pg_catalog.current_setting('strangler.mover', true) "
        "OPERATOR(pg_catalog.=) 'on'"
    )
    _replace(postgresql, "_FUNCTION", f"IF {is_mover}", "IF false")
    _replace(postgresql, "_OPEN", "NOT closed", f"NOT closed OR {is_mover}")
    _replace(mariadb, "_TRIGGER", "IF @strangler_mover IS NULL THEN", "IF TRUE THEN")
    _replace(
        mariadb, "_TRIGGER", "IF COALESCE", "IF @strangler_mover IS NULL AND COALESCE"
    )


def _replace(module: Any, name: str, old: str, new: str) -> None:
    text = getattr(module, name)
    assert old in text, f"{name} has no {old!r} any more"
    setattr(module, name, text.replace(old, new))
