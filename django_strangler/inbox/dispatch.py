"""Which delivery may be worked on now: one of a key at a time, in order of arrival."""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
from collections import deque
from dataclasses import dataclass, field

from django_strangler.brokers.base import Delivery
from django_strangler.events import Event

from .failures import Record
from .subscribers import Subscriber


@dataclass(slots=True, eq=False)
class Job:
    """A delivery that could be read, and who has still to handle it."""

    delivery: Delivery
    event: Event
    todo: list[Subscriber]
    record: Record
    errors: list[tuple[str, BaseException]] = field(default_factory=list)
    tries: int = 0


class Dispatch:
    """
    Hands jobs to whoever takes from ``ready``; ``None`` there asks one to leave.

    A key is busy from its first job on until ``release``, pauses included.
    """

    def __init__(self) -> None:
        self.ready: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._behind: dict[str, deque[Job]] = {}  # By busy key.
        self._paused: list[tuple[float, int, Job]] = []
        self._number = itertools.count()

    def add(self, job: Job) -> None:
        """It has arrived."""
        key = job.event.key
        if key:
            with self._lock:
                behind = self._behind.get(key)
                if behind is not None:
                    behind.append(job)
                    return
                self._behind[key] = deque()
        self.ready.put(job)

    def release(self, job: Job) -> None:
        """It is settled: the next of its key may go."""
        key = job.event.key
        if not key:
            return
        with self._lock:
            behind = self._behind[key]
            if not behind:
                del self._behind[key]
                return
            job = behind.popleft()
        self.ready.put(job)

    def pause(self, job: Job, until: float) -> None:
        """Try it again then; its key waits, no thread does."""
        with self._lock:
            heapq.heappush(self._paused, (until, next(self._number), job))

    def resume(self, now: float) -> None:
        """Hand over what was paused until now."""
        while self._paused and self._paused[0][0] <= now:
            with self._lock:
                _, _, job = heapq.heappop(self._paused)
            self.ready.put(job)

    def clear(self) -> None:
        """Forget what nobody works on yet."""
        with self._lock:
            self._paused.clear()
            for behind in self._behind.values():
                behind.clear()
        try:
            while True:
                self.ready.get_nowait()
        except queue.Empty:
            return
