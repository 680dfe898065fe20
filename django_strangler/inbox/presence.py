"""A consumer's row in the database: that it lives, and what its queue is bound for."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, connections
from django.db.models import QuerySet

from django_strangler import tracing
from django_strangler.brokers.base import Source
from django_strangler.clock import DatabaseNow

from .handling import inbox_alias
from .models import ConsumerProcess

logger = logging.getLogger("django_strangler.inbox")

LENGTH = 30.0  # Seconds without a sign of life, and it counts as dead.
FORGET_AFTER = 86400.0
TICK = 0.1  # How often to look whether deliveries come, in seconds.


class Presence(threading.Thread):
    """
    Keeps the row of one consumer.

    On a thread of its own: a database that never answers must not keep the consumer's
    own from giving up subscribers that wait for it as well.
    """

    def __init__(self, source: Source) -> None:
        super().__init__(name="strangler-presence", daemon=True)
        self._source, self._queue = source, source.queue
        self._row: ConsumerProcess | None = None
        self._shown = float("-inf")
        self._leaving = threading.Event()

    def leave(self, timeout: float) -> None:
        """Not alive any more; the row stays, as the memory of the queue's bindings."""
        self._leaving.set()
        if self.ident is not None:
            self.join(timeout)

    def run(self) -> None:
        try:
            with tracing.untraced():
                while not self._leaving.wait(TICK):
                    if self._source.ready:
                        self._guarded(self._show)
                self._guarded(self._expire)
        finally:
            connections.close_all()

    def _guarded(self, write: Callable[[], None]) -> None:
        try:
            write()
        except (DatabaseError, InterfaceError) as error:
            # The workers wait for it, and say so.
            logger.debug("The database failed: %s", error)
            connections[inbox_alias()].close()

    def _show(self) -> None:
        if time.monotonic() < self._shown + LENGTH / 3:
            return
        if self._row is None:
            self._row = self._enter()
        else:
            mine = self._rows().filter(token=self._row.token)
            mine.update(expires_at=DatabaseNow(LENGTH))
        self._shown = time.monotonic()

    def _enter(self) -> ConsumerProcess:
        unwanted = self._unwanted()
        row = ConsumerProcess(
            name=f"{socket.gethostname()}:{os.getpid()}"[:255],
            queue=self._queue.name,
            patterns=" ".join([*self._queue.patterns, *unwanted]),
            started_at=DatabaseNow(),
            expires_at=DatabaseNow(LENGTH),
        )
        row.save(using=inbox_alias(), force_insert=True)
        old = self._rows().filter(queue=self._queue.name)
        old.filter(expires_at__lt=DatabaseNow(-FORGET_AFTER)).delete()
        for pattern in unwanted:
            logger.warning(
                "The queue %r is bound for %r, which no subscriber wants. Its events "
                "become dead letters. Nobody else wants them there? Then: "
                "consume_events --unbind '%s'",
                self._queue.name,
                pattern,
                pattern,
            )
        return row

    def _unwanted(self) -> list[str]:
        """What earlier consumers bound the queue for, and this one does not want."""
        earlier = self._rows().filter(queue=self._queue.name)
        last = earlier.order_by("-started_at").first()
        wanted = {*self._queue.patterns, *self._queue.unbind}
        known = last.patterns.split() if last else []
        return [pattern for pattern in known if pattern not in wanted]

    def _expire(self) -> None:
        if self._row is not None:
            mine = self._rows().filter(token=self._row.token)
            mine.update(expires_at=DatabaseNow())

    def _rows(self) -> QuerySet[ConsumerProcess]:
        return ConsumerProcess.objects.using(inbox_alias())
