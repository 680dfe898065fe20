"""A consumer's row in the database: that it lives, and what its queue is bound for."""

from __future__ import annotations

import os
import socket
import time

from django.db.models import QuerySet

from django_strangler.clock import DatabaseNow

from .handling import inbox_alias
from .models import ConsumerProcess

LENGTH = 30.0  # Seconds without a sign of life, and it counts as dead.
FORGET_AFTER = 86400.0


class Presence:
    """Keeps the row of one consumer."""

    def __init__(self, queue: str, patterns: tuple[str, ...]) -> None:
        self._queue, self._patterns = queue, patterns
        self._row: ConsumerProcess | None = None
        self._shown = float("-inf")

    def unwanted(self) -> list[str]:
        """What earlier consumers bound the queue for, and this one does not want."""
        earlier = self._rows().filter(queue=self._queue).order_by("-started_at").first()
        known = earlier.patterns.split() if earlier else []
        return [pattern for pattern in known if pattern not in self._patterns]

    def show(self, *, unwanted: list[str]) -> None:
        """Write it at first, and then now and then."""
        if time.monotonic() < self._shown + LENGTH / 3:
            return
        if self._row is None:
            self._row = ConsumerProcess(
                name=f"{socket.gethostname()}:{os.getpid()}"[:255],
                queue=self._queue,
                patterns=" ".join([*self._patterns, *unwanted]),
                started_at=DatabaseNow(),
            )
            self._row.expires_at = DatabaseNow(LENGTH)
            self._row.save(using=inbox_alias(), force_insert=True)
            self._forget_others()
        else:
            mine = self._rows().filter(token=self._row.token)
            mine.update(expires_at=DatabaseNow(LENGTH))
        self._shown = time.monotonic()

    def leave(self) -> None:
        """Not alive any more; the row stays, as the memory of the queue's bindings."""
        if self._row is not None:
            mine = self._rows().filter(token=self._row.token)
            mine.update(expires_at=DatabaseNow())

    def _forget_others(self) -> None:
        old = self._rows().filter(queue=self._queue)
        old.filter(expires_at__lt=DatabaseNow(-FORGET_AFTER)).delete()

    def _rows(self) -> QuerySet[ConsumerProcess]:
        return ConsumerProcess.objects.using(inbox_alias())
