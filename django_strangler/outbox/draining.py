"""When a drain has come to its end, or nothing comes of it."""

from __future__ import annotations

from dataclasses import replace

from .reading import Reading
from .sending import Sending
from .settling import Totals
from .work import Work

SILENCE = 60.0  # The longest to wait for a broker that says nothing.
LAST_LOOKS = 30.0  # How long to go on when ever more is published.


class Draining:
    """A drain that begins now, and what has come of it."""

    def __init__(
        self, work: Work, reading: Reading, sending: Sending, patience: float
    ) -> None:
        self._work, self._reading, self._sending = work, reading, sending
        self._patience = patience
        self._progressed = work.clock()
        self._before = Totals()
        self._caught_up_at: float | None = None

    @property
    def has_caught_up(self) -> bool:
        """Whether nothing is due any more in the lanes that could be had."""
        work, held = self._work, self._work.held
        if not work.leases.is_valid:
            return False
        if not work.leases.lanes or held.everything:
            return True  # Others hold them all, or a person wants it so.
        if held.changes or held.opening or held.due(work.clock()):
            return False
        # What is held for the broker's sake is due; for its next attempt, it is not.
        is_idle = work.backlog.is_empty and not work.backlog.holds_due
        return is_idle and self._reading.is_done

    def go_on(self) -> bool:
        """Look once more: who handled the last ones may have published others."""
        now = self._work.clock()
        if self._caught_up_at is None:
            self._caught_up_at = now
        if not self._reading.found or now >= self._caught_up_at + LAST_LOOKS:
            return False
        self._reading.found = False
        self._reading.look_again()
        return True

    def idle_beyond_patience(self, totals: Totals) -> float:
        """For how long nothing has got through, if that is too long; otherwise 0."""
        now, totals = self._work.clock(), replace(totals, unknown=0)
        if totals != self._before:
            self._before, self._progressed = totals, now
        is_ready = self._work.broker.ready and self._work.backlog.ready
        if is_ready and (pause := self._sending.pause):
            self._progressed = now + pause  # It is the rate that holds them back.
        idle, patience = now - self._progressed, self._patience
        if self._work.broker.ready and self._work.backlog.sent:
            patience = max(patience, SILENCE)  # It may still answer.
        return idle if idle > patience else 0.0
