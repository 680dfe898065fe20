"""
Waking relays: NOTIFY after a commit on PostgreSQL, a poll everywhere else.

NOTIFY is never sent inside the business transaction, where it would take a global lock
at COMMIT, and goes around Django's cursor, so that nobody's query counts change. It
names the lanes, so that of many relays only those wake up that drain them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Set
from functools import partial
from typing import Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler import conf
from django_strangler.databases import a_test_never_commits

CHANNEL = "strangler_outbox"
# Seconds for which a process tells a lane's relay nothing more; it looks for longer.
QUIET = 0.020
FEW = 8  # Lanes, to be told by number.
_DEAF = ("none", "2", "3.0", "3.1.")  # They cannot wait for NOTIFY for a while.
SLICE = 0.1  # Seconds: a signal's handler does not interrupt a wait for NOTIFY.

_told: dict[str, tuple[float, Set[int] | None]] = {}  # When, and whom; None is all.


# The publisher's side.


def wake_relays_after_commit(
    connection: BaseDatabaseWrapper, lanes: Collection[int]
) -> None:
    """Arrange for one NOTIFY once the caller's transaction has committed."""
    if not _psycopg(connection).startswith("3") or a_test_never_commits(connection):
        return
    if not conf.current().relay.notify:
        return
    if not connection.in_atomic_block and not connection.get_autocommit():
        return  # Manual transactions have no on_commit; the poll finds the event.
    hooks = connection.run_on_commit
    last: Any = hooks[-1][1] if hooks else None
    if getattr(last, "func", None) is _notify:
        # The event before this one, in the same transaction, asks already.
        last.args[1].update(lanes)
        return
    transaction.on_commit(
        partial(_notify, connection.alias, set(lanes)),
        using=connection.alias,
        robust=True,
    )


def _notify(alias: str, lanes: Set[int]) -> None:
    now = time.monotonic()
    at, told = _told.get(alias, (0.0, frozenset()))
    is_quiet = now - at < QUIET
    if is_quiet and (told is None or lanes <= told):
        return
    # So a busy process tells some, then all, and then nobody for a while.
    whom = None if is_quiet or len(lanes) > FEW else lanes
    _told[alias] = (at if is_quiet else now), whom
    raw: Any = connections[alias].connection
    if raw is not None:
        raw.execute(f"NOTIFY {CHANNEL}, '{','.join(map(str, sorted(whom or ())))}'")


# The relay's side.


class Listener:
    """
    Lets a relay sleep on its own connection: until NOTIFY, where it can hear that.

    Behind a transaction-pooling proxy LISTEN succeeds and then hears nothing. There, as
    everywhere, a sleep ends with the next poll.
    """

    def __init__(
        self,
        connection: BaseDatabaseWrapper,
        stop: threading.Event,
        settings: conf.Settings,
    ) -> None:
        self.is_listening = False
        self._connection = connection
        self._stop = stop
        self._settings = settings
        self._seen: Any = None  # The driver's connection that this is said of.

    def wait(self, seconds: float, lanes: Collection[int]) -> bool:
        """Sleep; True if an event came into these lanes, as far as that is known."""
        self._listen()
        if not self.is_listening:
            self._stop.wait(seconds)
            return False
        deadline = time.monotonic() + seconds
        with self._connection.wrap_database_errors:
            while not self._stop.is_set():
                left = deadline - time.monotonic()
                told = self._seen.notifies(
                    timeout=max(0.0, min(left, SLICE)), stop_after=1
                )
                if any(concerns(note.payload, lanes) for note in told):
                    return True
                if left <= SLICE:
                    return False
        return False

    def close(self) -> None:
        """Listen no more: a pool may hand this connection on."""
        if self.is_listening and self._connection.connection is self._seen:
            self._execute(f"UNLISTEN {CHANNEL}")
        self._seen, self.is_listening = None, False

    def _listen(self) -> None:
        """Begin to, on each new connection."""
        raw = self._connection.connection
        if raw is self._seen:
            return
        self.is_listening = False
        # With other drivers, and inside of a test's transaction, the poll remains.
        if (
            raw is not None
            and self._settings.relay.notify
            and not self._connection.in_atomic_block
            and not _psycopg(self._connection).startswith(_DEAF)
        ):
            self._execute(f"LISTEN {CHANNEL}")
            self.is_listening = True
        self._seen = raw

    def _execute(self, sql: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)


def concerns(payload: str, lanes: Collection[int]) -> bool:
    """Whether a relay with these lanes is meant."""
    named = payload.split(",")
    # Whatever else says nothing, or is another release's, is for all.
    return not payload.replace(",", "").isdigit() or any(
        str(lane) in named for lane in lanes
    )


def _psycopg(connection: BaseDatabaseWrapper) -> str:
    """The driver's version, which begins with 2 or 3; "none" for other databases."""
    driver: Any = getattr(connection, "Database", None)
    is_postgresql = connection.vendor == "postgresql"
    return str(driver.__version__) if is_postgresql else "none"
