"""Directions: which side has the truth, and the ways to the other one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .declaring import Move
from .exceptions import UnknownMove
from .sides import DatabaseSide, side_of
from .ways import Way

LEGACY, MODERN = "legacy", "modern"


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """From the side that has the truth to the other, as long as the epoch lasts."""

    move: type[Move]
    source: DatabaseSide
    target: DatabaseSide
    epoch: int  # Of the target.
    over: int  # When the source was opened.
    ways: Mapping[str, Way]  # By table, parents first.
    # Called between steps that are long together: a hold is to outlast them.
    keep: Callable[[], object] = lambda: None

    @property
    def primary(self) -> str:
        """Which side has the truth."""
        return LEGACY if self.source.alias == self.move.source else MODERN


def sides(move: type[Move]) -> tuple[DatabaseSide, DatabaseSide]:
    """Legacy and modern."""
    return side_of(move.name, move.source), side_of(move.name, move.target)


def direction_of(
    move: type[Move],
    ways: Mapping[str, Mapping[str, Way]] | None = None,
    *,
    keep: Callable[[], object] = lambda: None,
) -> Direction:
    """How things stand; ``ways`` are those that are known already, by primary."""
    legacy, modern = sides(move)
    here, there = legacy.standing(), modern.standing()
    if here is None or there is None:
        raise UnknownMove(
            f"The move {move.name!r} has not begun: manage.py strangler_moves start "
            f"{move.name}"
        )
    is_back = there[1] > here[1]
    if is_back:
        legacy, modern, here, there = modern, legacy, there, here
    known = (ways or {}).get(MODERN if is_back else LEGACY)
    return Direction(
        move=move,
        source=legacy,
        target=modern,
        epoch=there[0],
        over=here[1],
        ways=known if known is not None else ways_between(move, legacy, modern),
        keep=keep,
    )


def ways_between(
    move: type[Move], source: DatabaseSide, target: DatabaseSide
) -> dict[str, Way]:
    """The way of each table from one side to the other."""
    return {table.label: Way(move, table, source, target) for table in move.tables}
