"""Candidates that run after the caller is done: one thread, and an end to the queue."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

from django.db import connections

from django_strangler import tracing

from . import counts

WAITING = 100  # Runs that wait; what comes then is left out, and counted.


class Background:
    """A thread that is begun when it is first needed, in each process anew."""

    def __init__(self, waiting: int = WAITING) -> None:
        self._most = waiting
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._queue: queue.Queue[Callable[[], None]] = queue.Queue(self._most)
        self._thread: threading.Thread | None = None

    def submit(self, experiment: str, work: Callable[[], None]) -> None:
        """Run it soon, unless too much waits already."""
        with self._lock:
            if self._pid != os.getpid():  # The parent's thread is not here.
                self._begin()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="strangler-experiments", daemon=True
                )
                self._thread.start()
        try:
            self._queue.put_nowait(work)
        except queue.Full:
            counts.candidates.add(experiment, "", "dropped")

    def wait(self) -> None:
        """Wait until all that was submitted is done: for tests."""
        self._queue.join()

    def _run(self) -> None:
        with tracing.untraced():
            while True:
                work = self._queue.get()
                try:
                    work()
                finally:
                    connections.close_all()
                    self._queue.task_done()


background = Background()
submit = background.submit
