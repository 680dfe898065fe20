"""Threads that call subscribers, and what is done about one that does not return."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Generic

from django.db import close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler import tracing
from django_strangler.databases import cut
from django_strangler.exceptions import ConsumerUnhealthy
from django_strangler.logs import fields
from django_strangler.printable import are

from .decoding import Refused, decode
from .dispatch import Dispatch, Job, JobT
from .handling import AnotherContent, DatabaseGone, handle, inbox_alias
from .retrying import Failure
from .subscribers import Subscriber

logger = logging.getLogger("django_strangler.inbox")

# What ends a try at once, and is no subscriber's failure.
_ENDS = (DatabaseGone, AnotherContent, Refused)


@dataclass(frozen=True, slots=True)
class Call(Generic[JobT]):
    """A subscriber at work."""

    job: JobT
    subscriber: Subscriber
    since: float


class Lost(BaseException):
    """This thread was given up: whatever it did does not count."""


def attempt(
    job: Job,
    span: tracing.Span,
    call: Callable[[Subscriber, Callable[[], object]], None] | None = None,
) -> BaseException | None:
    """
    Let everybody handle it who has not; what ended that, or the last failure.

    ``call`` is what calls, and may keep an eye on it.
    """
    last: BaseException | None = None
    job.failures.clear()
    try:
        event = job.envelope.event(decode(job.body))
    except Refused as refused:
        return refused
    for subscriber in list(job.todo):
        try:
            if call is None:
                handle(subscriber, event, job.body)
            else:
                call(subscriber, partial(handle, subscriber, event, job.body))
        except Lost:
            raise
        except BaseException as error:
            if call is None and isinstance(error, KeyboardInterrupt):
                raise  # Of the person who runs the relay, in whose thread this is.
            last = error  # Nothing may end a worker's thread.
            tracing.failed(span, error)
            job.failures.append(Failure(subscriber, error))
            if isinstance(error, DatabaseGone):
                # Next time the others first, if it is this one that costs it.
                job.todo.remove(subscriber)
                job.todo.append(subscriber)
            if isinstance(error, _ENDS):
                break
        else:
            job.todo.remove(subscriber)
    return last


class Worker(threading.Thread, Generic[JobT]):
    """Takes one job after the other and reports what became of it."""

    def __init__(
        self,
        dispatch: Dispatch[JobT],
        spans: Callable[[JobT], AbstractContextManager[tracing.Span]],
        report: Callable[[JobT, BaseException | None], None],
        name: str = "strangler-consumer",
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.lock = threading.Lock()
        self.call: Call[JobT] | None = None
        self.lost = False
        self.connection: BaseDatabaseWrapper | None = None
        self._dispatch, self._spans, self._report = dispatch, spans, report

    def run(self) -> None:
        try:
            self.connection = connections[inbox_alias()]
            while (job := self._dispatch.take()) is not None:
                with self._spans(job) as span:
                    error = attempt(job, span, partial(self._watched, job))
                if isinstance(error, DatabaseGone):
                    connections.close_all()
                self._report(job, error)
        except Lost:
            logger.warning("A subscriber that was given up has returned.")
        finally:
            connections.close_all()

    def _watched(
        self, job: JobT, subscriber: Subscriber, run: Callable[[], object]
    ) -> None:
        with self.lock:
            self.call = Call(job, subscriber, time.monotonic())
        try:
            run()
        except DatabaseGone:
            raise
        except BaseException:
            close_old_connections()  # Perhaps one of them is broken.
            raise
        finally:
            with self.lock:
                self.call = None
                if self.lost:
                    raise Lost

    def lose(self, timeout: float) -> Call[JobT] | None:
        """Give up what it does if that takes longer, and see that it cannot commit."""
        with self.lock:
            call = self.call
            if call is None or self.lost or time.monotonic() - call.since < timeout:
                return None
            self.lost = True
            if self.connection is not None:
                cut(self.connection)
        frame = sys._current_frames().get(self.ident or 0)
        envelope = call.job.envelope
        logger.error(
            "The subscriber %r was given up after %g s (HANDLER_TIMEOUT), with event "
            "%s. It was here:\n%s",
            call.subscriber.name,
            timeout,
            envelope.id,
            "".join(traceback.format_stack(frame)) if frame else "(ended just now)",
            extra=fields(envelope.id, envelope.type, envelope.headers),
        )
        return call


class Crew(Generic[JobT]):
    """The workers, and a new one for each that hangs."""

    def __init__(
        self,
        size: int,
        make: Callable[[], Worker[JobT]],
        gave_up: Callable[[JobT, Subscriber, str], None],
        timeout: float,
    ) -> None:
        self.size = size
        self._make, self._gave_up, self._timeout = make, gave_up, timeout
        self._workers: list[Worker[JobT]] = []
        self._hanging: list[Worker[JobT]] = []

    def start(self) -> None:
        """All of them."""
        for _ in range(self.size):
            self._start_one()

    def _start_one(self) -> None:
        worker = self._make()
        self._workers.append(worker)
        worker.start()

    @property
    def is_at_work(self) -> bool:
        """Whether one has not left yet; those that hang do not count."""
        return any(worker.is_alive() for worker in self._workers)

    def watch(self, *, replace: bool = True) -> None:
        """Give up threads whose subscriber does not return."""
        for worker in list(self._workers):
            call = worker.lose(self._timeout)
            if call is None:
                continue
            self._workers.remove(worker)
            self._hanging.append(worker)
            why = f"it took longer than {self._timeout:g} s"
            self._gave_up(call.job, call.subscriber, why)
            if replace:
                self._start_one()
        self._hanging = [worker for worker in self._hanging if worker.is_alive()]
        if replace and len(self._hanging) >= self.size:
            raise ConsumerUnhealthy(
                f"{are(len(self._hanging), 'thread')} hanging in subscribers for "
                f"longer than {self._timeout:g} s each (HANDLER_TIMEOUT); the stacks "
                "are in the log. Restart the process."
            )

    def join(self, deadline: float) -> None:
        """Wait for those that leave, until then by the monotonic clock."""
        for worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))
