"""Noting: what an application calls. Nothing here touches the database."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from functools import wraps
from time import monotonic
from typing import Any, TypeVar, cast

from asgiref.sync import iscoroutinefunction
from django.apps import apps

from .counts import counts

F = TypeVar("F", bound=Callable[..., Any])

PERIOD = 1.0  # Seconds between two writings.
LINGER = 10.0  # Seconds without news, until the connection is given back.


class Recorder:
    """The thread that writes, begun by the first note of a process."""

    def __init__(self, *, period: float = PERIOD, linger: float = LINGER) -> None:
        self._period = period
        self._linger = linger
        self.restart()

    def restart(self) -> None:
        """As in a process that has just begun: a thread does not survive a fork."""
        self._noted = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self) -> bool:
        """There is something to write. Called under the lock of the counts."""
        if _is_testing():
            return False
        is_alive = self._thread is not None and self._thread.is_alive()
        if not is_alive and not self._stopped.is_set():
            self._thread = threading.Thread(
                target=self._run, name="strangler-evidence", daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError:  # The interpreter is on its way out.
                self._thread = None
        self._noted.set()
        return True

    def stop(self) -> None:
        """Write what is left: the process ends."""
        self._stopped.set()
        self._noted.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=10)

    def _run(self) -> None:
        while not apps.ready_event.wait(self._period):  # Noted while modules load.
            if self._stopped.is_set():
                return
        from . import writing

        is_last = False
        while not is_last:
            if not self._stopped.is_set():
                self._noted.wait()
            self._stopped.wait(self._period)
            is_last = self._stopped.is_set()
            # Whatever happens to a connection, the thread goes on.
            with writing.survived(), writing.connected():
                self._write_for_a_while(writing.write)

    def _write_for_a_while(self, write: Callable[[], bool]) -> None:
        last = monotonic()
        while monotonic() - last < self._linger:
            if self._noted.is_set():
                last = monotonic()
                self._noted.clear()
                if not write():
                    self._noted.set()
            if self._stopped.is_set():
                return
            self._stopped.wait(self._period)


def _is_testing() -> bool:
    # What a thread commits beside a test would stay for the next one, and its
    # connection be in the way when the database is dropped. Tests call flush().
    return hasattr(sys.modules.get("django.core.mail"), "outbox")


recorder = Recorder()
counts.wake = recorder.wake
note = counts.note


def legacy(name: str) -> None:
    """
    Legacy code ran that should fall silent: ``legacy("payments.send_payment_email")``.

    The first word is the app it belongs to.
    """
    note(f"legacy:{name}", side="legacy")


def retiring(name: str) -> Callable[[F], F]:
    """Mark a function as legacy code that should fall silent; each call is noted."""

    def decorate(function: F) -> F:
        @wraps(function)
        def noted(*args: Any, **kwargs: Any) -> Any:
            legacy(name)
            return function(*args, **kwargs)

        @wraps(function)
        async def anoted(*args: Any, **kwargs: Any) -> Any:
            legacy(name)
            return await function(*args, **kwargs)

        return cast("F", anoted if iscoroutinefunction(function) else noted)

    return decorate


def _forked() -> None:
    # What the parent has counted, the parent writes.
    recorder.restart()
    counts.restart()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
atexit.register(recorder.stop)
