"""The consumer: takes deliveries from a queue and sees each to its end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from django_strangler import conf
from django_strangler.brokers.base import Delivery, Source
from django_strangler.exceptions import BrokerError, ConsumerUnhealthy
from django_strangler.logs import Sieve, fields

from .decoding import Unreadable, read
from .dispatch import Dispatch, Job
from .failures import FAILED, NO_SUBSCRIBER, UNREADABLE, Record, said, shown
from .handling import DatabaseGone
from .presence import Presence
from .subscribers import registry
from .workers import Worker

logger = logging.getLogger("django_strangler.inbox")

TICK = 0.1  # How often to look at threads and pauses, in seconds.
IN_PLACE = (0.1, 0.5)  # Pauses before a failed delivery is tried again; its key waits.
LONGEST_DATABASE_PAUSE = 5.0
FLUSH = 10.0  # How long to wait in the end for copies to be confirmed,
FAREWELL = 1.0  # and for the database.


@dataclass
class Totals:
    """What the consumer has done since it started."""

    handled: int = 0
    retried: int = 0
    dead: int = 0


class Consumer:
    """
    Moves deliveries from the source to worker threads, and their fate back.

    Driven by one thread, which has the heartbeat and looks after the others; deliveries
    arrive on the source's.
    """

    def __init__(
        self,
        source: Source,
        *,
        threads: int = 4,
        settings: conf.Settings | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.settings = settings or conf.current()
        self.source = source
        self.stop = stop or threading.Event()
        self.totals = Totals()
        self.on_progress: Callable[[Totals], object] = lambda totals: None
        self._threads = threads
        self._dispatch = Dispatch()
        self._workers: list[Worker] = []
        self._lost: list[Worker] = []
        self._presence = Presence(source)
        self._counting = threading.Lock()
        self._database_failures = 0
        self._sieve = Sieve()

    def run(self) -> None:
        """Consume until asked to stop, then finish what is in hand."""
        try:
            self._begin()
            while not self.stop.wait(TICK):
                self._tick()
                if self.source.refusal:
                    raise BrokerError(self.source.refusal)
        finally:
            self._end()

    def _begin(self) -> None:
        for _ in range(self._threads):
            self._start_worker()
        self.source.open(self._arrived)
        self._presence.start()

    def _start_worker(self) -> None:
        worker = Worker(self._dispatch, self.source, self._settle)
        self._workers.append(worker)
        worker.start()

    def _end(self) -> None:
        self.source.pause()
        self._dispatch.clear()
        for _ in self._workers:
            self._dispatch.ready.put(None)
        while any(worker.is_alive() for worker in self._workers):
            self._watch(replace=False)
            threading.Event().wait(0.01)
        self.source.close(FLUSH)
        self._presence.leave(FAREWELL)
        self.on_progress(self.totals)

    # The driver's thread.

    def _tick(self) -> None:
        self._dispatch.resume(time.monotonic())
        self._watch(replace=True)
        self.on_progress(self.totals)

    def _watch(self, *, replace: bool) -> None:
        """Give up threads whose subscriber does not return."""
        timeout = self.settings.handler_timeout
        for worker in list(self._workers):
            call = worker.lose(timeout)
            if call is None:
                continue
            self._workers.remove(worker)
            self._lost.append(worker)
            error = f"{call.subscriber.name}: it took longer than {timeout:g} s"
            self._give_up(call.job, FAILED, error)
            if replace:
                self._start_worker()
        self._lost = [worker for worker in self._lost if worker.is_alive()]
        if replace and len(self._lost) >= self._threads:
            raise ConsumerUnhealthy(
                f"{len(self._lost)} threads hang in subscribers for longer than "
                f"{timeout:g} s each (HANDLER_TIMEOUT); their stacks are in the log. "
                "Restart the process."
            )

    # The source's thread.

    def _arrived(self, delivery: Delivery) -> None:
        record = Record.read(delivery.headers)
        try:
            event = read(delivery, max_bytes=self.settings.max_payload_bytes)
        except Unreadable as error:
            self._bury(delivery, record, UNREADABLE, str(error))
            return
        bound = registry.bound_to(event.type)
        if not bound:
            why = f"nobody subscribes to {event.type!r:.300}"
            self._bury(delivery, record, NO_SUBSCRIBER, why)
            return
        todo = [each for each in bound if each.wants(event.headers)]
        if todo:
            self._dispatch.add(Job(delivery, event, todo, record))
        else:
            self.source.done(delivery)
            self._count(handled=1)

    # Any worker's thread.

    def _settle(self, job: Job, error: BaseException | None) -> None:
        if error is None:
            self.source.done(job.delivery)
            self._count(handled=1)
            self._database_failures = 0
            self._dispatch.release(job)
        elif not self.source.is_current(job.delivery):
            self._dispatch.release(job)  # It comes again anyway.
        elif isinstance(error, DatabaseGone):
            self._wait_for_database(job, error)
        elif job.tries < len(IN_PLACE):
            self._log(job, logging.INFO, "%r failed and is tried again: %s%s")
            job.tries += 1
            self._dispatch.pause(job, time.monotonic() + IN_PLACE[job.tries - 1])
        else:
            self._log(job, logging.ERROR, "The subscriber %r failed: %s%s")
            self._give_up(job, FAILED, "; ".join(shown(*each) for each in job.errors))

    def _give_up(self, job: Job, reason: str, error: str) -> None:
        """For now, or for good."""
        step = job.record.times
        if step < len(self.source.queue.retry_delays):
            notes = job.record.notes(reason, error)
            self.source.move(job.delivery, step, notes)
            self._count(retried=1)
        else:
            self._bury(job.delivery, job.record, reason, error)
        self._dispatch.release(job)

    def _bury(
        self, delivery: Delivery, record: Record, reason: str, error: str
    ) -> None:
        more = self._sieve.passes(reason, delivery.routing_key)
        if more is not None:
            logger.error(
                "The delivery %.100r became a dead letter (%s): %s%s",
                delivery.id,
                reason,
                error,
                more,
                extra=fields(delivery.id, delivery.type, delivery.headers),
            )
        self.source.move(delivery, None, record.notes(reason, error))
        self._count(dead=1)

    def _log(self, job: Job, level: int, text: str) -> None:
        """Who failed; with where it did, once that is no passing trouble."""
        extra = fields(job.event.id, job.event.type, job.delivery.headers)
        for name, raised in job.errors:
            more = self._sieve.passes(level, name, type(raised))
            if more is not None:
                where = raised if level >= logging.ERROR else None
                given = (name, said(raised), more)
                logger.log(level, text, *given, exc_info=where, extra=extra)

    def _count(self, *, handled: int = 0, retried: int = 0, dead: int = 0) -> None:
        with self._counting:
            self.totals.handled += handled
            self.totals.retried += retried
            self.totals.dead += dead

    def _wait_for_database(self, job: Job, error: DatabaseGone) -> None:
        """It is nobody's fault: no attempt is counted, and others fare no better."""
        if not self._database_failures:
            logger.warning("The database failed, and is waited for: %s", error)
        self._database_failures += 1
        pause = min(0.1 * self._database_failures, LONGEST_DATABASE_PAUSE)
        self._dispatch.pause(job, time.monotonic() + pause)
