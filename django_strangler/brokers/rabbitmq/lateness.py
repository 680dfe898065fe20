"""Which types are not confirmed: found out by sending one event of each apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from django_strangler.brokers.base import Cause, Kind, Outcome, Outgoing

from .culprit import Refusal
from .link import Loop
from .probes import Probe, Probes


class Lateness:
    """
    Looks at the types of those events whose confirms are late.

    A queue that is ill must not be taken for a node that is: once one type is
    confirmed, the others are waited for a moment longer, and are ill then.

    An early look comes long before the confirm timeout, when a channel is silent: it
    only ends with a verdict if it is one type, or some, that silence all others.
    """

    def __init__(
        self,
        loop: Loop,
        probes: Probes,
        *,
        neighbour: float,  # That moment, in seconds.
        settled: Callable[[Outgoing, Outcome], None],  # No longer late.
        found: Callable[[dict[str, Outcome]], None],  # The ill types, or none.
        nothing: Callable[[], None],  # An early look has found nothing.
    ) -> None:
        self.is_on = self.is_early = False
        self._loop, self._probes, self._neighbour = loop, probes, neighbour
        self._on_settled, self._on_found, self._on_nothing = settled, found, nothing
        self._number = 0  # Of the look: answers of former ones count for nothing.
        self._waiting: dict[int, str] = {}  # Types, by row.
        self._ill: dict[str, Outcome] = {}
        self._confirmed_at = 0.0

    def begin(self, late: Iterable[Outgoing], *, early: bool = False) -> bool:
        """Send the oldest event of each type apart; early, only with several."""
        oldest: dict[str, Outgoing] = {}
        for event in late:
            oldest.setdefault(event.type, event)
        if early and len(oldest) < 2:
            return False
        self.is_on, self.is_early = True, early
        self._ill, self._confirmed_at = {}, 0.0
        self._waiting = {event.row: event.type for event in oldest.values()}
        self._number += 1
        number = self._number
        for event in oldest.values():
            self._probes.send(Probe([event], lambda *told: self._probed(number, *told)))
        return True

    def call_off(self) -> None:
        """There is nothing to find any more."""
        self.is_on = self.is_early = False
        self._number += 1

    def _probed(
        self, number: int, event: Outgoing, outcome: Outcome, refusal: Refusal | None
    ) -> None:
        if outcome.kind is not Kind.UNKNOWN:
            self._on_settled(event, outcome)
        if number != self._number:
            return
        self._waiting.pop(event.row, None)
        if outcome.cause.holds_type:
            self._ill[event.type] = outcome
        elif outcome.kind in (Kind.CONFIRMED, Kind.RETURNED):
            if not self._confirmed_at:
                self._loop.later(self._neighbour, lambda: self._look(number))
            self._confirmed_at = time.monotonic()
        if not self._waiting:
            self._end()

    def _look(self, number: int) -> None:
        if number != self._number:
            return
        if time.monotonic() < self._confirmed_at + self._neighbour:
            self._loop.later(self._neighbour, lambda: self._look(number))
            return
        for row, type in self._waiting.items():
            reason = "Other types are confirmed, and this one is not."
            self._ill[type] = Outcome(row, Kind.UNKNOWN, reason, cause=Cause.OVERDUE)
        self._end()

    def _end(self) -> None:
        is_verdict = not self.is_early or (self._ill and self._confirmed_at)
        self.call_off()
        if is_verdict:
            self._on_found(self._ill)
        else:
            self._on_nothing()
