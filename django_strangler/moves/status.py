"""How a move is: as values, for people, programs and pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from . import differences
from .declaring import Move
from .directions import LEGACY, MODERN, Direction, direction_of
from .exceptions import UnknownMove
from .models import ON, MoveState, Stage

NOT_BEGUN = "not begun"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One move, now."""

    name: str
    stage: str
    primary: str = LEGACY
    copied: int = 0
    of: int = 0
    rate: float = 0.0  # Rows in a second, since it began.
    left: float | None = None  # Seconds, while copying.
    marks: int = 0
    lag: float = 0.0
    verified_at: datetime | None = None
    verified: int = 0
    validated: int = 0  # Rows of the round that is under way.
    differing: int = 0
    is_capture: bool = False

    @property
    def is_on(self) -> bool:
        """Whether a mover has to do with it."""
        return self.stage != NOT_BEGUN and self.stage not in (
            Stage.FINISHED,
            Stage.ABANDONED,
        )

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        found = {name: getattr(self, name) for name in self.__slots__}
        at = self.verified_at
        return {**found, "verified_at": at.isoformat() if at is not None else None}


def status(move: type[Move]) -> Status:
    """How it is. Asks both databases."""
    state = MoveState.objects.using(move.source).filter(name=move.name).first()
    if state is None:
        return Status(name=move.name, stage=NOT_BEGUN)
    if state.stage not in ON:
        ended = MODERN if state.stage == Stage.FINISHED else LEGACY
        return Status(name=move.name, stage=state.stage, primary=ended)
    try:
        direction = direction_of(move)
    except UnknownMove:
        return Status(name=move.name, stage=state.stage)
    return _on(state, direction)


def _on(state: MoveState, direction: Direction) -> Status:
    marks, lag = direction.source.lag()
    copied = sum(each["rows"] for each in state.progress.values())
    of = sum(each["of"] for each in state.progress.values())
    until = state.copied_at or datetime.now(timezone.utc)
    took = max((until - state.started_at).total_seconds(), 0.001)
    rate = copied / took
    is_copying = state.stage == Stage.COPYING
    return Status(
        name=state.name,
        stage=f"switching to {state.goal}" if state.goal else state.stage,
        primary=direction.primary,
        copied=copied,
        of=max(of, copied),
        rate=rate,
        left=max(0, of - copied) / rate if is_copying and rate else None,
        marks=marks,
        lag=lag,
        verified_at=state.verified_at,
        verified=state.verified_rows,
        validated=state.validated.get("rows", 0),
        differing=len(differences.known(direction.move)),
    )
