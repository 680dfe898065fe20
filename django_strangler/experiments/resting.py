"""A pause for experiments whose candidates do not end in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

OVERRUNS = 3
PAUSE = 60.0  # Seconds.


class Resting:
    """Counts overruns; after the third, the experiment rests in this process."""

    def __init__(
        self,
        *,
        overruns: int = OVERRUNS,
        pause: float = PAUSE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._pause, self._clock = overruns, pause, clock
        self._overruns = 0
        self._until = 0.0
        self._lock = threading.Lock()

    @property
    def now(self) -> bool:
        """Whether it rests."""
        return self._until > 0.0 and self._clock() < self._until

    def overran(self) -> bool:
        """One more; says whether a pause begins with it."""
        with self._lock:
            self._overruns += 1
            if self._overruns < self._most:
                return False
            self._overruns, self._until = 0, self._clock() + self._pause
            return True
