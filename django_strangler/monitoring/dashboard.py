"""What the app's page in the admin shows: how things are, and what can be done."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import router

from django_strangler import conf
from django_strangler.feature_flags.models import Flag, FlagChange
from django_strangler.outbox.models import OutboxEvent

from . import traffic
from .chart import Chart, draw
from .state import State, look
from .verdict import Verdict, span, verdict

SHOWN = 50  # Flags; their list has the rest.
CHANGES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Of the outbox and those who move its events."""

    state: State
    verdict: Verdict
    oldest: str
    chart: Chart


def events() -> Events:
    """How the events fare."""
    # As health has it: a replica that lags behind would show relays as dead.
    alias = router.db_for_write(OutboxEvent)
    state = look(alias)
    return Events(
        state=state,
        verdict=verdict(state, conf.current()),
        oldest="none" if state.oldest_due is None else span(state.oldest_due),
        chart=draw(traffic.look(router.db_for_read(OutboxEvent))),
    )


def flags() -> list[Flag]:
    """The flags by name."""
    return list(Flag.objects.all()[:SHOWN])


def changes() -> list[FlagChange]:
    """What was changed last."""
    return list(FlagChange.objects.all()[:CHANGES])
