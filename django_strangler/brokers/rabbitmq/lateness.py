"""Which types are not confirmed: found out by sending one event of each apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial

from django_strangler.brokers.base import Cause, Kind, Outcome, Outgoing

from .culprit import Refusal
from .link import Loop
from .probes import Probe, Probes

Settled = list[tuple[Outgoing, Outcome]]

MOST = 10  # Types that an early look asks about: each costs a copy of an event.


class Lateness:
    """
    Looks at the types of those events whose confirms are late.

    A queue that is ill must not be taken for a node that is: once one type is
    confirmed, the others are waited for a moment longer, and are ill then.

    An early look comes long before the confirm timeout, when a channel is silent: it
    only ends with a verdict if it is one type, or some, that silence all others. That
    all pass is none: whatever the channel's fault is, the confirm timeout tells.

    Nothing is settled before the verdict. Until then the channel may still tell, and a
    return that nobody awaits any more would be taken for that of a later copy.
    """

    def __init__(
        self,
        loop: Loop,
        probes: Probes,
        *,
        neighbour: float,  # That moment, in seconds.
        # What came of those that were asked about, and the ill types, or none.
        found: Callable[[Settled, dict[str, Outcome]], None],
        nothing: Callable[[], None],  # An early look has found nothing.
    ) -> None:
        self.is_on = self.is_early = False
        self._loop, self._probes, self._neighbour = loop, probes, neighbour
        self._on_found, self._on_nothing = found, nothing
        self._number = 0  # Of the look: answers of former ones count for nothing.
        self._waiting: dict[int, Probe] = {}  # By row.
        self._settled: Settled = []
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
        self._ill, self._settled, self._confirmed_at = {}, [], 0.0
        self._number += 1
        ended = partial(self._probed, self._number)
        asked = list(oldest.values())[: MOST if early else None]
        self._waiting = {event.row: Probe([event], ended) for event in asked}
        for probe in list(self._waiting.values()):
            self._probes.send(probe)
        return True

    def call_off(self) -> None:
        """There is nothing to find any more."""
        self.is_on = self.is_early = False
        self._number += 1

    def abandon(self) -> None:
        """It has been found without a look: what waits for it goes on."""
        self.call_off()
        self._on_nothing()

    def _probed(
        self, number: int, event: Outgoing, outcome: Outcome, refusal: Refusal | None
    ) -> None:
        if number != self._number:
            return
        self._waiting.pop(event.row, None)
        if outcome.kind is not Kind.UNKNOWN:
            self._settled.append((event, outcome))
        if outcome.cause.holds_type:
            self._ill[event.type] = outcome
        elif outcome.kind in (Kind.CONFIRMED, Kind.RETURNED):
            if not self._confirmed_at:
                self._loop.later(self._neighbour, partial(self._look, number))
            self._confirmed_at = time.monotonic()
        if not self._waiting:
            self._end()

    def _look(self, number: int, *, again: bool = False) -> None:
        if number != self._number:
            return
        # One that is not sent yet, for want of a channel, is not late.
        sent = [probe for probe in self._waiting.values() if probe.sent_at]
        last = max([self._confirmed_at, *(probe.sent_at for probe in sent)])
        left = last + self._neighbour - time.monotonic()
        if left > 0 or not again:
            # Once more if it is time: what has come in meanwhile is read first.
            look = partial(self._look, number, again=left <= 0)
            self._loop.later(max(left, 0.0), look)
            return
        reason = "Other types are confirmed, and this one is not."
        for event in (event for probe in sent for event in probe.events.values()):
            ill = Outcome(event.row, Kind.UNKNOWN, reason, cause=Cause.OVERDUE)
            self._ill[event.type] = ill
        self._end()

    def _end(self) -> None:
        is_verdict = not self.is_early or (self._ill and self._confirmed_at)
        self.call_off()
        if is_verdict:
            self._on_found(self._settled, self._ill)
        else:
            self._on_nothing()
