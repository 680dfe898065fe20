"""What the app's page in the admin shows: how things are, and what can be done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import router
from django.utils import timezone

from django_strangler import conf
from django_strangler.feature_flags.models import Flag, FlagChange
from django_strangler.outbox.models import outbox_alias

from . import letters, traffic
from .chart import Chart, draw
from .flow import Flow, flow, span
from .state import State, look

SHOWN = 50  # Flags; their list has the rest.
CHANGES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """The outbox, and the processes that move its events."""

    state: State
    flow: Flow
    oldest: str
    chart: Chart
    dead_letters: Mapping[str, int] | None  # By queue; None: not known.

    @property
    def dead(self) -> int | None:
        """How many dead letters there are in all."""
        return None if self.dead_letters is None else sum(self.dead_letters.values())


def events() -> Events:
    """How the events fare."""
    # As health has it: a replica that lags behind would show relays as dead.
    alias = outbox_alias()
    state, settings = look(alias), conf.current()
    dead = letters.counts((each.queue for each in state.consumers), settings)
    now = _local_time()
    into = timedelta(seconds=now.second, microseconds=now.microsecond)
    return Events(
        state=state,
        flow=flow(state, settings, dead or {}),
        oldest="none" if state.oldest_due is None else span(state.oldest_due),
        chart=draw(traffic.look(alias, into=into.total_seconds()), until=now - into),
        dead_letters=dead,
    )


def flags() -> list[Flag]:
    """The flags by name."""
    return list(Flag.objects.using(router.db_for_write(Flag))[:SHOWN])


def changes() -> list[FlagChange]:
    """What was changed last."""
    changes = FlagChange.objects.using(router.db_for_write(FlagChange))
    return list(changes[:CHANGES])


def _local_time() -> datetime:
    """The time in the project's time zone, with USE_TZ or without."""
    now = timezone.now()
    return timezone.localtime(now) if timezone.is_aware(now) else now
