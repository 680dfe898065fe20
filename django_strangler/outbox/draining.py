"""When a drain has come to its end, or nothing comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .backlog import Backlog
from .leases import Leases
from .reading import Reading
from .settling import Totals

SILENCE = 60.0  # The longest to wait for a broker that says nothing.
LAST_LOOKS = 30.0  # How long to go on when ever more is published.


class DrainsEnd:
    """Of a drain that begins now."""

    def __init__(
        self,
        backlog: Backlog,
        leases: Leases,
        reading: Reading,
        patience: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._backlog, self._leases, self._reading = backlog, leases, reading
        self._patience, self._monotonic = patience, monotonic
        self._progressed = monotonic()
        self._before = Totals()
        self._caught_up_at: float | None = None

    def is_reached(self) -> bool:
        """Whether nothing is due any more in the lanes that could be had."""
        backlog, reading = self._backlog, self._reading
        if not self._leases.is_valid:
            return False
        if not self._leases.lanes:
            return True  # Others hold them all.
        if backlog.has_more or reading.has_more_delayed:
            return False
        # What is held for the broker's sake is due; for its next attempt, it is not.
        if not backlog.is_empty or backlog.holds_due:
            return False
        now = self._monotonic()
        if self._caught_up_at is None:
            self._caught_up_at = now
        if reading.found and now < self._caught_up_at + LAST_LOOKS:
            # Who handled those may have published more.
            reading.found = False
            reading.look_again()
            return False
        return True

    def idle_beyond_patience(self, totals: Totals, broker_is_ready: bool) -> float:
        """For how long nothing has got through, if that is too long; otherwise 0."""
        now, totals = self._monotonic(), replace(totals, unknown=0)
        if totals != self._before:
            self._before, self._progressed = totals, now
        idle, patience = now - self._progressed, self._patience
        if broker_is_ready and self._backlog.sent:  # It may still answer.
            patience = max(patience, SILENCE)
        return idle if idle > patience else 0.0
