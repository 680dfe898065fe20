"""
Which calls may be tried again, and how many: a budget that outages cannot use up.

A retry for each failed call doubles the load of a service that is overloaded already.
So retries are a share of the calls, and what was saved up is soon worth nothing.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
AWAY = frozenset({502, 503, 504})  # The service, or what stands before it, says so.


def is_repeatable(method: str, idempotency_key: str | None) -> bool:
    """Whether doing it twice is as good as doing it once."""
    return method in SAFE_METHODS or bool(idempotency_key)


def pause(base: float = 0.1, spread: Callable[[], float] = random.random) -> float:
    """Seconds before the second try: anything up to the base ("full jitter")."""
    return base * spread()


class Budget:
    """Retries are a share of the last seconds' calls, and one a second besides."""

    def __init__(
        self,
        share: float = 0.2,
        a_second: float = 1.0,
        lives: float = 10.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._share, self._a_second, self._lives = share, a_second, lives
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds: deque[list[float]] = deque()  # [second, calls, retries]

    def called(self) -> None:
        """A first try was made."""
        with self._lock:
            self._now()[1] += 1

    def take(self) -> bool:
        """Use one retry up, if one is left."""
        with self._lock:
            current = self._now()
            calls = sum(each[1] for each in self._seconds)
            used = sum(each[2] for each in self._seconds)
            allowed = self._share * calls + self._a_second * self._lives
            if used + 1 > allowed:
                return False
            current[2] += 1
            return True

    def _now(self) -> list[float]:
        second = self._clock() // 1
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0, 0])
        while self._seconds[0][0] <= second - self._lives:
            self._seconds.popleft()
        return self._seconds[-1]
