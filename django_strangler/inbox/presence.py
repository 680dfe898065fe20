"""A consumer's row in the database: that it lives, and what its queue is bound for."""

from __future__ import annotations

import logging
import os
import socket
import time

from django.db.models import QuerySet

from django_strangler.brokers.base import WorkQueue
from django_strangler.clock import DatabaseNow

from .handling import inbox_alias
from .models import ConsumerProcess

logger = logging.getLogger("django_strangler.inbox")

LENGTH = 30.0  # Seconds without a sign of life, and it counts as dead.
FORGET_AFTER = 86400.0


class Presence:
    """Keeps the row of one consumer."""

    def __init__(self, queue: WorkQueue) -> None:
        self._queue = queue
        self._row: ConsumerProcess | None = None
        self._shown = float("-inf")

    def show(self) -> None:
        """Write it at first, and then now and then."""
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

    def leave(self) -> None:
        """Not alive any more; the row stays, as the memory of the queue's bindings."""
        if self._row is not None:
            mine = self._rows().filter(token=self._row.token)
            mine.update(expires_at=DatabaseNow())

    def _rows(self) -> QuerySet[ConsumerProcess]:
        return ConsumerProcess.objects.using(inbox_alias())
