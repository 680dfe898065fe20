"""Which job may be worked on now: one of a key at a time, in order of arrival."""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .decoding import Envelope
from .retrying import Failure
from .subscribers import Subscriber


@dataclass(slots=True, eq=False)
class Job:
    """An event, and who has still to handle it."""

    envelope: Envelope
    body: bytes | str
    todo: list[Subscriber]
    failures: list[Failure] = field(default_factory=list)  # Of the last try.
    tries: int = 0
    losses: int = 0  # Of its own connection, while a subscriber was at work.


JobT = TypeVar("JobT", bound=Job)


class Dispatch(Generic[JobT]):
    """
    Hands jobs to the threads that call ``take``.

    A key is busy from its first job on until ``release``, pauses included. A job that
    is not current any more, because its connection is lost and it comes again, is never
    handed out: the job that has its key now would be overtaken by it.
    """

    def __init__(self, is_current: Callable[[JobT], bool] = lambda job: True) -> None:
        self._ready: queue.SimpleQueue[JobT | None] = queue.SimpleQueue()
        self._is_current = is_current
        self._lock = threading.Lock()
        self._behind: dict[str, deque[JobT]] = {}  # By busy key.
        self._paused: list[tuple[float, int, JobT]] = []
        self._number = itertools.count()

    def add(self, job: JobT) -> None:
        """It has arrived."""
        key = job.envelope.key
        if key:
            with self._lock:
                behind = self._behind.get(key)
                if behind is not None:
                    behind.append(job)
                    return
                self._behind[key] = deque()
        self._ready.put(job)

    def take(self) -> JobT | None:
        """Wait for the next job; None asks the thread to leave."""
        while (job := self._ready.get()) is not None:
            if self._is_current(job):
                return job
            self.release(job)
        return None

    def release(self, job: JobT) -> None:
        """It is settled: the next of its key may go."""
        key = job.envelope.key
        if not key:
            return
        with self._lock:
            behind = self._behind[key]
            while behind:
                job = behind.popleft()
                if self._is_current(job):
                    break
            else:
                del self._behind[key]
                return
        self._ready.put(job)

    def pause(self, job: JobT, until: float) -> None:
        """Try it again then; its key waits, no thread does."""
        with self._lock:
            heapq.heappush(self._paused, (until, next(self._number), job))

    def resume(self, now: float) -> None:
        """Hand over what was paused until now."""
        while self._paused and self._paused[0][0] <= now:
            with self._lock:
                _, _, job = heapq.heappop(self._paused)
            self._ready.put(job)

    def dismiss(self, takers: int) -> None:
        """Forget what nobody works on yet, and ask so many threads to leave."""
        with self._lock:
            self._paused.clear()
            for behind in self._behind.values():
                behind.clear()
        try:
            while True:
                self._ready.get_nowait()
        except queue.Empty:
            pass
        for _ in range(takers):
            self._ready.put(None)
