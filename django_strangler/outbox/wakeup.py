"""
Waking relays: NOTIFY after a commit on PostgreSQL, a poll everywhere else.

NOTIFY is never sent inside the business transaction, where it would take a global lock
at COMMIT, and goes around Django's cursor, so that nobody's query counts change.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from functools import partial
from typing import Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler import conf
from django_strangler.outbox.transactions import a_test_never_commits

CHANNEL = "strangler_outbox"
QUIET = 0.020  # Seconds between two NOTIFY of one process; a woken relay looks longer.

logger = logging.getLogger("django_strangler.outbox")
_last_sent: dict[str, float] = {}


def wake_relays_after_commit(connection: BaseDatabaseWrapper) -> None:
    """Arrange for one NOTIFY once the caller's transaction has committed."""
    if not _can_notify(connection) or a_test_never_commits(connection):
        return
    if not conf.current().notify:
        return
    if not connection.in_atomic_block and not connection.get_autocommit():
        return  # Manual transactions have no on_commit; the poll finds the event.
    hooks = connection.run_on_commit
    if hooks and getattr(hooks[-1][1], "func", None) is _notify:
        return  # The event before this one, in the same transaction, asked already.
    transaction.on_commit(
        partial(_notify, connection.alias), using=connection.alias, robust=True
    )


def _notify(alias: str) -> None:
    now = time.monotonic()
    if now - _last_sent.get(alias, 0.0) < QUIET:
        return
    _last_sent[alias] = now
    raw: Any = connections[alias].connection
    if raw is not None:
        raw.execute(f"NOTIFY {CHANNEL}")


def _can_notify(connection: BaseDatabaseWrapper) -> bool:
    driver: Any = getattr(connection, "Database", None)  # psycopg 3, or 2.
    return connection.vendor == "postgresql" and driver.__version__.startswith("3")


class Wakeup:
    """How a relay sleeps: until NOTIFY, or the poll, or the request to stop."""

    SELF_TEST = 1.0  # Seconds that our own NOTIFY may take to come back.

    def __init__(self, connection: BaseDatabaseWrapper, stop: threading.Event) -> None:
        self._connection = connection
        self._stop = stop
        self._listening: Any = None  # The driver's connection that passed the test.
        self._tried: Any = None

    def wait(self, seconds: float) -> bool:
        """Sleep; True if somebody published meanwhile, as far as that is known."""
        raw = self._raw()
        if raw is None:
            self._stop.wait(seconds)
            return False
        deadline = time.monotonic() + seconds
        while not self._stop.is_set():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            # In slices: a signal's handler does not interrupt this wait.
            for _ in raw.notifies(timeout=min(left, 0.1), stop_after=1):
                return True
        return False

    def _raw(self) -> Any:
        """The driver's connection, listening; None where only the poll is left."""
        connection = self._connection
        if not conf.current().notify or not _can_notify(connection):
            return None
        if connection.in_atomic_block:
            return None
        raw: Any = connection.connection
        if raw is None:
            return None
        if raw is not self._tried:
            self._tried = raw
            self._listening = raw if self._passes_self_test(raw) else None
        return self._listening

    def _passes_self_test(self, raw: Any) -> bool:
        # Behind a transaction-pooling proxy, LISTEN succeeds and then hears nothing.
        if not hasattr(raw, "notifies"):
            return False
        ours = uuid.uuid4().hex
        raw.execute(f"LISTEN {CHANNEL}")
        raw.execute(f"NOTIFY {CHANNEL}, '{ours}'")
        with contextlib.closing(raw.notifies(timeout=self.SELF_TEST)) as heard:
            if any(note.payload == ours for note in heard):
                return True
        logger.warning(
            "LISTEN on %r hears nothing, as behind a transaction-pooling proxy. Events "
            "are found by polling every %s s. Give the relay a direct connection, or "
            "set STRANGLER['NOTIFY'] to False.",
            connection_name(self._connection),
            conf.current().poll_interval,
        )
        return False


def connection_name(connection: BaseDatabaseWrapper) -> str:
    """The alias, which is how people know a database."""
    return str(connection.alias)
