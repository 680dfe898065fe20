"""What the app's page in the admin shows: how things are, and what can be done."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import router

from django_strangler import conf
from django_strangler.feature_flags import wording
from django_strangler.feature_flags.models import Flag, FlagChange
from django_strangler.outbox.models import OutboxEvent

from . import traffic
from .chart import Chart, draw
from .state import COUNTED, State, Verdict, look, span, verdict

SHOWN = 50  # Flags; their list has the rest.
CHANGES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagLine:
    """A flag, and whom it serves."""

    flag: Flag
    rollout: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeLine:
    """A change of a flag, and what it did."""

    change: FlagChange
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Of the outbox and those who move its events."""

    state: State
    verdict: Verdict
    parked: int  # As far as they are counted.
    oldest: str
    chart: Chart


def events() -> Events:
    """How the events fare."""
    alias = router.db_for_read(OutboxEvent)
    state = look(alias)
    return Events(
        state=state,
        verdict=verdict(state, conf.current()),
        parked=min(state.parked_count, COUNTED),
        oldest="none" if state.oldest_due is None else span(state.oldest_due),
        chart=draw(traffic.look(alias)),
    )


def flags() -> list[FlagLine]:
    """The flags by name, each with its sentence."""
    return [
        FlagLine(flag=flag, rollout=wording.rollout(flag))
        for flag in Flag.objects.all()[:SHOWN]
    ]


def changes() -> list[ChangeLine]:
    """What was changed last."""
    return [
        ChangeLine(change=change, what=wording.change(change.before, change.after))
        for change in FlagChange.objects.all()[:CHANGES]
    ]
