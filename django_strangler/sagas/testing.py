"""For the tests of a project: a saga from its start to its end, whatever goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from django.db import router, transaction

from django_strangler.events import Event, new_id
from django_strangler.inbox.handling import handle
from django_strangler.inbox.subscribers import Subscriber, registry
from django_strangler.models import OutboxEvent

from . import subscribers
from .messages import REPLY, TIMEOUT, Address, answer
from .models import SagaRun
from .rules import State, StepOutcome

MOST = 500  # Messages; a step after the pivot is tried for ever.


@dataclass(frozen=True, slots=True)
class Fault:
    """What becomes of a command instead of being done."""

    kind: str
    reason: str = ""


SILENT = Fault("silent")  # Lost, or its participant fails each time: no reply comes.
LATE = Fault("late")  # It comes after its timeout.
TWICE = Fault("twice")  # It comes a second time.


def refusing(reason: str = "refused") -> Fault:
    """The participant refuses."""
    return Fault("refuses", reason)


def play(
    run: SagaRun, faults: Mapping[str, Fault | list[Fault]] | None = None
) -> SagaRun:
    """
    Deliver a saga's messages and their answers until it has ended, or is stuck.

    ``faults`` says for each command what goes wrong: every time, or the first times.
    Timeouts come when nothing else is left; nobody waits for them.
    """
    return _Play(run, dict(faults or {})).run_to_the_end()


# Not looked up: a test may have a registry of its own.
_OURS = {
    type: [Subscriber(name=name, patterns=(type,), flag=None, handler=handler)]
    for type, name, handler in (
        (REPLY, subscribers.REPLIES, subscribers.reply),
        (TIMEOUT, subscribers.TIMEOUTS, subscribers.timeout),
    )
}


class _Play:
    def __init__(self, run: SagaRun, faults: dict[str, Any]) -> None:
        self._run = run
        self._alias = str(router.db_for_write(SagaRun))
        self._faults = faults
        self._last = 0
        self._timeouts: list[Event] = []
        self._late: list[Event] = []
        self._waiting: list[Event] = []

    def run_to_the_end(self) -> SagaRun:
        for _ in range(MOST):
            self._read()
            if self._waiting:
                self._deliver(self._waiting.pop(0))
            elif self._timeouts and not self._is_at_its_end():
                self._handle(self._timeouts.pop(0))
            elif self._late:
                self._handle(self._late.pop(0))
            else:
                break
        self._run.refresh_from_db(using=self._alias)
        return self._run

    def _is_at_its_end(self) -> bool:
        self._run.refresh_from_db(using=self._alias)
        return self._run.has_ended or self._run.place.state is State.STUCK

    def _read(self) -> None:
        rows = OutboxEvent.objects.using(self._alias)
        found = rows.filter(key=str(self._run.saga_id), id__gt=self._last)
        for row in found.order_by("id"):
            self._last = row.pk
            event = row.as_event()
            (self._timeouts if event.type == TIMEOUT else self._waiting).append(event)

    def _deliver(self, event: Event) -> None:
        fault = None if event.type == REPLY else self._fault(event.type)
        if fault is None:
            self._handle(event)
        elif fault.kind == "late":
            self._late.append(event)
        elif fault.kind == "twice":
            self._handle(event)
            self._handle(replace(event, id=new_id()))
        elif fault.kind == "refuses":
            with transaction.atomic(using=self._alias):
                answer(
                    Address.of(event),
                    StepOutcome.REFUSED,
                    using=self._alias,
                    reason=fault.reason,
                )

    def _fault(self, type: str) -> Fault | None:
        found = self._faults.get(type)
        if isinstance(found, list):
            return found.pop(0) if found else None
        return found

    def _handle(self, event: Event) -> None:
        for subscriber in _OURS.get(event.type) or registry.bound_to(event.type):
            handle(subscriber, event)
