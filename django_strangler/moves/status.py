"""How a move is: as values, for people, programs and pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from django_strangler.clock import DatabaseNow
from django_strangler.findings import Finding, Level

from . import differences
from .conf import settings
from .declaring import Move
from .directions import LEGACY, MODERN, Direction, direction_of
from .exceptions import UnknownMove
from .models import ON, Mover, MoveState, Stage
from .sides.fence import PATIENCE

NOT_BEGUN, STOPPED = "not begun", "stopped"  # The second is a capture.


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
    movers: int = 0  # Processes that follow it; one of them works.
    trouble: str = ""  # Why they stand still.
    verified_at: datetime | None = None
    verified: int = 0
    validated: int = 0  # Rows of the round that is under way.
    differing: int = 0
    is_capture: bool = False

    @property
    def is_on(self) -> bool:
        """Whether a mover has to do with it."""
        ended = (NOT_BEGUN, STOPPED, Stage.FINISHED, Stage.ABANDONED)
        return self.stage not in ended

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        at = self.verified_at
        return {**asdict(self), "verified_at": at and at.isoformat()}


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
    movers, trouble = alive(state.name, direction.move.source)
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
        movers=movers,
        trouble=trouble,
        verified_at=state.verified_at,
        verified=state.verified_rows,
        validated=state.validated.get("rows", 0),
        differing=len(differences.known(direction.move)),
    )


def alive(name: str, source: str) -> tuple[int, str]:
    """How many processes follow it now, and why one of them stands still."""
    # A hold may run out while its process waits for a lock: that is not its death.
    rows = Mover.objects.using(source).filter(
        move=name, switches=False, expires_at__gt=DatabaseNow(-PATIENCE)
    )
    troubles = list(rows.values_list("trouble", flat=True))
    return len(troubles), next(filter(None, troubles), "")


def standstill(found: Status) -> Iterator[Finding]:
    """For the doctor: nobody follows, or somebody who gets nowhere."""
    is_late = found.lag > settings().lag
    behind = f" It is {found.lag:.0f} s behind." if is_late else ""
    if not found.movers:
        text = f"No mover follows {found.name}.{behind}"
        todo = "Run: manage.py strangler_moves run"
    elif found.trouble:
        text, todo = f"{found.name} stands still.{behind}", found.trouble
    elif is_late:
        text = f"{found.name} is {found.lag:.0f} s behind."
        todo = "A mover works at it: more is written than it can follow."
    else:
        return
    yield Finding(Level.TROUBLE, text, todo)
