"""How things stood a moment ago, so that asking often costs nothing."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error, OperationalError, connections

from .state import State, look

PATIENCE = 2.0  # Seconds to wait for a look that another thread has begun.

# When, and what was seen, or why nothing could be.
_looks: dict[str, tuple[float, State | str]] = {}
_looking = threading.Lock()


def _forked() -> None:
    global _looking
    _looking = threading.Lock()  # Another thread of the parent may have held it.


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def recent(using: str, *, seconds: float) -> State:
    """
    How things stood up to so many seconds ago. Raises what the database raises.

    A database that fails is asked no more often than one that answers; and where it
    hangs, one thread hangs with it, not all those who ask for health.
    """
    if not _looking.acquire(timeout=PATIENCE):
        raise OperationalError("A look that was begun earlier still has no answer.")
    try:
        at, found = _looks.get(using, (0.0, None))
        if found is None or time.monotonic() >= at + seconds:
            found = _look(using)
    finally:
        _looking.release()
    if isinstance(found, str):
        raise OperationalError(found)
    return found


def _look(using: str) -> State:
    try:
        with _closed_if_opened():
            found = look(using)
    except Error as error:
        _looks[using] = time.monotonic(), str(error)
        raise
    _looks[using] = time.monotonic(), found
    return found


@contextmanager
def _closed_if_opened() -> Iterator[None]:
    """Leave no connection to a thread that had none: it may be one for one scrape."""
    before = [
        each for each in connections.all(initialized_only=True) if each.connection
    ]
    try:
        yield
    finally:
        for connection in connections.all(initialized_only=True):
            if connection not in before and not connection.in_atomic_block:
                connection.close()
