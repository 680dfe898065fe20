"""
A ramp: percentages and the moments from which they hold, a pure function of both.

A gated ramp holds back: its steps count only once they have been opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise
from typing import Any, TypeAlias

from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_naive, make_aware

from django_strangler.exceptions import InvalidRamp, StranglerError

from .rules import check_percentage

# A moment, a pause after the step before, or None: now.
When: TypeAlias = "datetime | timedelta | None"

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

# A first step "now" was written down a moment ago, perhaps on another host.
GRACE = timedelta(minutes=1)


def now() -> datetime:
    """This host's time for those who ask; aware, with USE_TZ or without."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """From ``at`` on, this percentage."""

    at: datetime
    percentage: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """A schedule; while it is held, the moment ``held_at`` lasts."""

    steps: tuple[Step, ...]
    held_at: datetime | None = None
    opened: int | None = None  # Of a gated ramp: so many steps.

    def percentage(self, now: datetime) -> Decimal | None:
        """The percentage at a moment; None before the first step."""
        reached = self.reached(now)
        return reached[-1].percentage if reached else None

    def reached(self, now: datetime) -> list[Step]:
        """The steps that hold, or held, at a moment."""
        moment = now if self.held_at is None else self.held_at
        return [step for step in self.steps[: self.opened] if step.at <= moment]

    def waiting(self, now: datetime) -> Step | None:
        """The step of a gated ramp whose time has come, and which is not open."""
        if self.opened is None or self.held_at or self.opened >= len(self.steps):
            return None
        step = self.steps[self.opened]
        return step if step.at <= now else None

    def open(self, now: datetime) -> Ramp:
        """Open the next step now; those behind it keep their distance."""
        opened = self.opened
        if opened is None or opened >= len(self.steps):
            raise InvalidRamp("The ramp has no step that waits to be opened.")
        late = now - self.steps[opened].at
        steps = tuple(
            step if number < opened else replace(step, at=step.at + late)
            for number, step in enumerate(self.steps)
        )
        return replace(self, steps=steps, opened=opened + 1)

    def step_back(self, now: datetime) -> Ramp | None:
        """Held as it was before its last step; None if that was its first."""
        reached = self.reached(now)
        if len(reached) < 2:
            return None
        if self.opened is not None:
            return replace(self, held_at=now, opened=len(reached) - 1)
        return replace(self, held_at=reached[-1].at - timedelta(microseconds=1))

    def hold(self, now: datetime) -> Ramp:
        """Stay at the percentage of this moment."""
        return self if self.held_at else replace(self, held_at=now)

    def resume(self, now: datetime) -> Ramp:
        """
        Go on from where it was held.

        The steps still to come move by as long as it was held, so that nothing jumps.
        """
        held_at = self.held_at
        if held_at is None:
            return self
        pause = max(now - held_at, timedelta(0))
        steps = tuple(
            replace(step, at=step.at + pause) if step.at > held_at else step
            for step in self.steps
        )
        return replace(self, steps=steps, held_at=None)

    def to_json(self) -> dict[str, Any]:
        """As the column holds it."""
        gate = {} if self.opened is None else {"opened": self.opened}
        return {
            "steps": [
                [each.at.isoformat(), str(each.percentage)] for each in self.steps
            ],
            "held_at": self.held_at and self.held_at.isoformat(),
            **gate,
        }


def plan(steps: Iterable[tuple[Any, When] | str], *, now: datetime) -> Ramp:
    """A ramp of (percentage, when) pairs: "1 now, 5 on Monday, 25 a week later"."""
    planned: list[Step] = []
    for pair in steps:
        if isinstance(pair, str):
            pair = parse_step(pair)
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise InvalidRamp(
                f"{pair!r:.80} is not a step. Write (percentage, when); when is a "
                "datetime, a timedelta after the step before, or None for now."
            )
        at = _moment(pair[1], planned[-1].at if planned else now, now)
        planned.append(Step(at=at, percentage=check_percentage(pair[0])))
    if planned and planned[0].at < now - GRACE:
        raise InvalidRamp(
            f"The ramp starts in the past, at {planned[0].at:%Y-%m-%d %H:%M %Z}."
        )
    return _in_order(planned)


def parse_step(text: str) -> tuple[str, When]:
    """A step as it is typed: ``1@now``, ``5@2030-01-07T09:00``, ``25@+7d``."""
    percentage, _, when = text.partition("@")
    if when == "now":
        return percentage, None
    if pause := re.fullmatch(r"\+(\d{1,6})([mhdw])", when):
        return percentage, timedelta(**{_UNITS[pause[2]]: int(pause[1])})
    try:
        moment = parse_datetime(when)
    except ValueError:  # It looks like one.
        moment = None
    if moment is None:
        raise InvalidRamp(
            f"{text!r:.80} is not a step. Give a percentage and its time, such as "
            "5@now, 25@+2h or 50@2025-03-01T12:30."
        )
    return percentage, zoned(moment)


def require(value: Any, name: str) -> Ramp:
    """The ramp that a flag must have."""
    if value is None:
        raise InvalidRamp(f"The flag {name!r} has no ramp.")
    return from_json(value)


def zoned(moment: datetime) -> datetime:
    """A moment with its zone: a project without USE_TZ keeps local times."""
    return make_aware(moment) if is_naive(moment) else moment


def from_json(value: Any) -> Ramp:
    """The ramp in a column; it may have been written by anybody."""
    try:
        steps = [
            Step(at=_parse(at), percentage=check_percentage(percentage))
            for at, percentage in value["steps"]
        ]
        held_at = _parse(value["held_at"]) if value.get("held_at") else None
        opened = value.get("opened")
        if opened is not None and not 0 <= int(opened) <= len(steps):
            raise ValueError("opened lies outside of the steps")
    except (
        StranglerError,
        AttributeError,
        KeyError,
        OverflowError,
        TypeError,
        ValueError,
    ) as error:
        raise InvalidRamp(
            f"{value!r:.120} is not a ramp ({error}). It looks like "
            '{"steps": [["2030-01-07T09:00:00+00:00", "5.00"]], "held_at": null}.'
        ) from error
    return replace(_in_order(steps), held_at=held_at, opened=opened)


def _in_order(steps: list[Step]) -> Ramp:
    if not steps:
        raise InvalidRamp("A ramp has at least one step: (percentage, when).")
    for earlier, later in pairwise(steps):
        if later.at <= earlier.at:
            raise InvalidRamp(
                f"The ramp goes back in time: {later.percentage} % at {later.at} comes "
                f"after {earlier.percentage} % at {earlier.at}. Put the steps in order."
            )
    return Ramp(steps=tuple(steps))


def _moment(when: Any, previous: datetime, now: datetime) -> datetime:
    if when is None:
        return now
    try:
        moment = previous + when if isinstance(when, timedelta) else when
        return _aware(moment)
    except (AttributeError, OverflowError, TypeError):
        raise InvalidRamp(
            f"{when!r:.80} is not a moment. Pass an aware datetime, a timedelta or "
            "None."
        ) from None


def _parse(text: str) -> datetime:
    return _aware(datetime.fromisoformat(text))


def _aware(moment: datetime) -> datetime:
    if moment.utcoffset() is None:
        raise InvalidRamp(
            f"{moment} has no time zone. Make it aware: timezone.make_aware(…)."
        )
    return moment.astimezone(timezone.utc)
