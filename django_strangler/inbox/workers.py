"""Threads that call subscribers, and what is done about one that does not return."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import NamedTuple

from django.db import close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler import tracing
from django_strangler.brokers.base import Source
from django_strangler.logs import fields

from .cutting import cut
from .dispatch import Dispatch, Job
from .handling import DatabaseGone, handle, inbox_alias
from .subscribers import Subscriber

logger = logging.getLogger("django_strangler.inbox")


class Call(NamedTuple):
    """A subscriber at work."""

    job: Job
    subscriber: Subscriber
    since: float


class _Lost(BaseException):
    """This thread was given up: whatever it did does not count."""


class Worker(threading.Thread):
    """Takes one job after the other and reports what became of it."""

    def __init__(
        self,
        dispatch: Dispatch,
        source: Source,
        report: Callable[[Job, BaseException | None], None],
    ) -> None:
        super().__init__(name="strangler-consumer", daemon=True)
        self.lock = threading.Lock()
        self.call: Call | None = None
        self.lost = False
        self.connection: BaseDatabaseWrapper | None = None
        self._dispatch, self._source, self._report = dispatch, source, report

    def run(self) -> None:
        try:
            self.connection = connections[inbox_alias()]
            while (job := self._dispatch.ready.get()) is not None:
                self._report(job, self._try(job))
        except _Lost:
            logger.warning("A subscriber that was given up has returned.")
        finally:
            connections.close_all()

    def _try(self, job: Job) -> BaseException | None:
        """Let everybody handle it who has not; the last error, if there is one."""
        last: BaseException | None = None
        job.errors.clear()
        source, type = self._source, job.event.type
        with tracing.processing(
            job.event.headers,
            system=source.system,
            destination=f"{source.settings.exchange}:{type}:{source.queue.name}",
            routing_key=type,
            server=job.delivery.server,
            id=str(job.event.id),
            correlation_id=job.event.correlation_id,
            since=job.record.first,
        ) as span:
            for subscriber in list(job.todo):
                error = self._call(job, subscriber)
                if error is None:
                    job.todo.remove(subscriber)
                    continue
                last = error
                tracing.failed(span, error)
                if isinstance(error, DatabaseGone):
                    break
                job.errors.append((subscriber.name, error))
        return last

    def _call(self, job: Job, subscriber: Subscriber) -> BaseException | None:
        with self.lock:
            self.call = Call(job, subscriber, time.monotonic())
        error: BaseException | None = None
        try:
            handle(subscriber, job.event)
        except BaseException as raised:  # noqa: BLE001  Nothing may end the thread.
            error = raised
        with self.lock:
            self.call = None
            if self.lost:
                raise _Lost
        if isinstance(error, DatabaseGone):
            connections.close_all()
        elif error is not None:
            close_old_connections()
        return error

    def lose(self, timeout: float) -> Call | None:
        """Give up what it does if that takes longer, and see that it cannot commit."""
        with self.lock:
            call = self.call
            if call is None or self.lost or time.monotonic() - call.since < timeout:
                return None
            self.lost = True
            if self.connection is not None:
                cut(self.connection)
        frame = sys._current_frames().get(self.ident or 0)
        logger.error(
            "The subscriber %r was given up after %g s (HANDLER_TIMEOUT), with event "
            "%s. It was here:\n%s",
            call.subscriber.name,
            timeout,
            call.job.event.id,
            "".join(traceback.format_stack(frame)) if frame else "(ended just now)",
            extra=fields(
                call.job.event.id, call.job.event.type, call.job.delivery.headers
            ),
        )
        return call
