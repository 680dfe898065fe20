"""How many events may be sent now, so that a recovered service is not run over."""

from __future__ import annotations

from collections.abc import Callable

SHARE = 0.1  # Of a second's events: so many may go at once.


class Rate:
    """A bucket that fills with so many events a second; 0 is no limit."""

    def __init__(self, per_second: int, clock: Callable[[], float]) -> None:
        self._rate, self._clock = per_second, clock
        self._most = max(1.0, SHARE * per_second)
        self._left, self._at = self._most, clock()

    def allows(self, wanted: int) -> int:
        """How many of those wanted may go now."""
        if not self._rate:
            return wanted
        now = self._clock()
        self._left = min(self._most, self._left + self._rate * (now - self._at))
        self._at = now
        return min(wanted, int(self._left))

    def spend(self, count: int) -> None:
        """So many have gone."""
        self._left -= count

    @property
    def pause(self) -> float:
        """Seconds until the next may go."""
        if not self._rate or self.allows(1):
            return 0.0
        return (1 - self._left) / self._rate
