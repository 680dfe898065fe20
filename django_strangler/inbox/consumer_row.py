"""A consumer's row in the database: that it lives, and what it consumes for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from uuid import uuid4

from django.db import DatabaseError, InterfaceError, connections
from django.db.models import QuerySet

from django_strangler import tracing
from django_strangler.brokers.base import Source
from django_strangler.brokers.patterns import matches
from django_strangler.clock import DatabaseNow
from django_strangler.databases import own_connection
from django_strangler.holding import process_name

from .handling import inbox_alias
from .models import ConsumerProcess
from .subscribers import Subscriber

logger = logging.getLogger("django_strangler.inbox")

LENGTH = 30.0  # Seconds without a sign of life, and it counts as dead.
FORGET_AFTER = 86400.0
TICK = 0.1  # How often to look whether deliveries come, in seconds.


class ConsumerRow(threading.Thread):
    """
    Keeps the row of one consumer, and reads those of the others of its queue.

    On a thread and a connection of its own: a database that never answers, or a pool
    that its subscribers have emptied, must not keep the consumer's own thread from
    giving up subscribers that wait for it as well. The row stays when the consumer
    leaves, as the memory of the queue's bindings.
    """

    def __init__(self, source: Source, subscribers: Sequence[Subscriber]) -> None:
        super().__init__(name="strangler-consumer-row", daemon=True)
        self._source, self._queue = source, source.queue
        self._names = {each.name for each in subscribers}
        self._lines = "\n".join(sorted(map(_line, subscribers)))
        self._token = uuid4()
        self._shown = float("-inf")
        self._leaving = threading.Event()
        self._others: dict[str, tuple[str, ...]] = {}  # Patterns by name.

    def lacking(self, type: str) -> Collection[str]:
        """Which subscribers a live consumer of the queue has for it, and this lacks."""
        others = self._others
        if not others:
            return ()
        return [
            name
            for name, patterns in others.items()
            if any(matches(pattern, type) for pattern in patterns)
        ]

    def leave(self, timeout: float) -> None:
        """Not alive any more."""
        self._leaving.set()
        if self.ident is not None:
            self.join(timeout)

    def run(self) -> None:
        try:
            with tracing.untraced(), own_connection(connections[inbox_alias()]):
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
        # Entered again where it was deleted, by a restored backup say.
        if not self._lives_until(LENGTH):
            self._enter()
        self._others = self._read_others()
        self._shown = time.monotonic()

    def _enter(self) -> None:
        unwanted = self._unwanted()
        row = ConsumerProcess(
            token=self._token,
            name=process_name(),
            queue=self._queue.name,
            patterns=" ".join([*self._queue.patterns, *unwanted]),
            subscribers=self._lines,
            started_at=DatabaseNow(),
            expires_at=DatabaseNow(LENGTH),
        )
        row.save(using=inbox_alias(), force_insert=True)
        self._of_the_queue().filter(expires_at__lt=DatabaseNow(-FORGET_AFTER)).delete()
        for pattern in unwanted:
            logger.warning(
                "The queue %r is bound for %r, which no subscriber wants. Its events "
                "become dead letters. If no other program wants them there, run: "
                "consume_events --unbind '%s'",
                self._queue.name,
                pattern,
                pattern,
            )

    def _read_others(self) -> dict[str, tuple[str, ...]]:
        alive = self._of_the_queue().filter(expires_at__gt=DatabaseNow())
        found = alive.exclude(subscribers=self._lines)
        return {
            name: tuple(patterns)
            for lines in found.values_list("subscribers", flat=True)
            for name, *patterns in map(str.split, lines.splitlines())
            if name not in self._names
        }

    def _unwanted(self) -> list[str]:
        """What earlier consumers bound the queue for, and this one does not want."""
        last = self._of_the_queue().order_by("-started_at").first()
        wanted = {*self._queue.patterns, *self._queue.unbind}
        known = last.patterns.split() if last else []
        return [pattern for pattern in known if pattern not in wanted]

    def _expire(self) -> None:
        self._lives_until(0.0)

    def _lives_until(self, seconds: float) -> bool:
        mine = self._rows().filter(token=self._token)
        return bool(mine.update(expires_at=DatabaseNow(seconds)))

    def _of_the_queue(self) -> QuerySet[ConsumerProcess]:
        return self._rows().filter(queue=self._queue.name)

    def _rows(self) -> QuerySet[ConsumerProcess]:
        return ConsumerProcess.objects.using(inbox_alias())


def _line(subscriber: Subscriber) -> str:
    return " ".join((subscriber.name, *subscriber.patterns))
