"""How a relay sleeps: until NOTIFY on PostgreSQL, or the poll, or the wish to stop."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Collection
from typing import Any

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler import conf
from django_strangler.databases import share_watch

from .wakeup import CHANNEL, concerns

logger = logging.getLogger("django_strangler.outbox.relay")

SELF_TEST = 1.0  # Seconds that our own NOTIFY may take to come back.
SLICE = 0.1  # A signal's handler does not interrupt a wait for NOTIFY.


class Wakeup:
    """Sleeps on the relay's own connection, listening where that works."""

    def __init__(
        self,
        connection: BaseDatabaseWrapper,
        stop: threading.Event,
        settings: conf.Settings,
    ) -> None:
        self._connection = connection
        self._stop = stop
        self._settings = settings
        self._tried: Any = None
        self._listening: Any = None  # The driver's connection that passed the test.
        self._warned = False

    @property
    def is_listening(self) -> bool:
        """Whether NOTIFY is heard; otherwise only the poll finds events."""
        return self._listening is not None

    def wait(self, seconds: float, lanes: Collection[int]) -> bool:
        """Sleep; True if an event came into these lanes, as far as that is known."""
        raw = self._raw()
        if raw is None:
            self._stop.wait(seconds)
            return False
        deadline = time.monotonic() + seconds
        with self._connection.wrap_database_errors:
            while not self._stop.is_set():
                left = deadline - time.monotonic()
                told = raw.notifies(timeout=max(0.0, min(left, SLICE)), stop_after=1)
                if any(concerns(note.payload, lanes) for note in told):
                    return True
                if left <= SLICE:
                    return False
        return False

    def close(self) -> None:
        """Listen no more: a pool may hand this connection on."""
        if self._listening is not None and self._connection.connection is not None:
            with self._connection.cursor() as cursor:
                cursor.execute(f"UNLISTEN {CHANNEL}")
        self._tried = self._listening = None

    def _raw(self) -> Any:
        """The driver's connection, listening; None where only the poll is left."""
        raw: Any = self._connection.connection
        if raw is not self._tried and raw is not None:
            self._tried, self._listening = raw, None
            if self.can_listen() and self._passes_self_test(raw):
                self._listening = raw
        return self._listening

    def can_listen(self) -> bool:
        """Whether the database and its driver have what it takes."""
        connection = self._connection
        if connection.vendor != "postgresql" or connection.in_atomic_block:
            return False
        # psycopg 3.2 or later; with others the poll remains.
        driver: Any = getattr(connection, "Database", None)
        version = tuple(map(int, driver.__version__.split(" ")[0].split(".")[:2]))
        return self._settings.relay.notify and version >= (3, 2)

    def _passes_self_test(self, raw: Any) -> bool:
        """
        Whether what another connection notifies is heard here.

        Behind a transaction-pooling proxy LISTEN succeeds and then hears nothing; only
        what is notified over the very same server connection may come back.
        """
        ours = uuid.uuid4().hex
        with self._connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        try:
            self._notify_from_outside(ours)
        except DatabaseError as error:
            return self._falls_back(f"a second connection failed: {error}")
        deadline = time.monotonic() + SELF_TEST
        with self._connection.wrap_database_errors:
            while (left := deadline - time.monotonic()) > 0 and not self._stop.is_set():
                for note in raw.notifies(timeout=min(left, SLICE)):
                    if note.payload == ours:
                        return True
        if self._stop.is_set():
            return False
        return self._falls_back("as behind a transaction-pooling proxy")

    def _notify_from_outside(self, payload: str) -> None:
        other = self._connection.copy()
        share_watch(self._connection, other)
        try:
            with other.cursor() as cursor:
                cursor.execute(f"NOTIFY {CHANNEL}, '{payload}'")
        finally:
            other.close()

    def _falls_back(self, why: str) -> bool:
        if not self._warned:
            self._warned = True
            logger.warning(
                "LISTEN on %r hears nothing (%s). Events are found by polling every "
                "%g s. Give the relay a direct connection, or set "
                "STRANGLER['RELAY']['NOTIFY'] to False.",
                self._connection.alias,
                why,
                self._settings.relay.poll_interval,
            )
        return False
