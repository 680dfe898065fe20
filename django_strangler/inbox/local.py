"""
``local://``: calls this process's own subscribers, without any server.

An event is confirmed once each subscriber that it is for has its inbox row, so a retry
calls only those that have none. It comes after the same delays as a consumer's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from django.db import connections

from django_strangler import tracing
from django_strangler.announcing import Announcer
from django_strangler.brokers.base import (
    RETRY_DELAYS,
    Broker,
    Kind,
    Outcome,
    Outgoing,
)
from django_strangler.conf import Settings
from django_strangler.findings import Finding, Level
from django_strangler.logs import fields
from django_strangler.printable import PlainTracebacks, how_many

from .decoding import Refused, envelope_of
from .dispatch import Dispatch, Job
from .failures import failure, message, to_log
from .handling import AnotherContent, DatabaseGone, inbox_alias
from .retrying import Failure, judge
from .subscribers import Subscriber, registry
from .workers import Crew, Worker, attempt

logger = logging.getLogger("django_strangler.inbox.local")
logger.addFilter(PlainTracebacks())

THREADS = 8
_NAMED = 5  # Subscribers, or modules, that a sentence lists.
THREADS_PER_TYPE = 6  # A slow subscriber of one type leaves some to the others.
LOSSES = 3  # Of its own connection: from then on, it is the subscriber's failure.


@dataclass(slots=True, eq=False)
class LocalJob(Job):
    """A job that came from the outbox."""

    outgoing: Outgoing = field(kw_only=True)


class LocalBroker(Broker):
    """
    Calls subscribers in a few threads, or in the caller's.

    SQLite has one writer, and a test's transaction one connection: there the relay's
    own thread calls them, one after the other.
    """

    system = "local"
    for_development = True
    queues_may_come = False

    @classmethod
    def inspect(
        cls, settings: Settings, types: Collection[str], management: str = ""
    ) -> Iterable[Finding]:
        count = how_many(len(registry.all()), "subscriber")
        yield Finding(Level.FINE, f"The relay itself calls {count}")

    def __init__(self, urls: Sequence[str], settings: Settings) -> None:
        super().__init__(urls, settings)
        self.on_error: Callable[[Subscriber, BaseException, Outgoing], object] = (
            self._log_error
        )
        self._announcer = Announcer(logger)
        self._changed = threading.Condition()
        self._waiting: deque[Outgoing] = deque()
        self._outcomes: list[Outcome] = []
        self._running: Counter[str] = Counter()  # Events by type.
        self._losses: Counter[int] = Counter()  # Of connections, by row.
        self._dispatch: Dispatch[LocalJob] = Dispatch()
        self._crew: Crew[LocalJob] | None = None
        self._is_open = False

    @classmethod
    def destination(cls, settings: Settings) -> str:
        """Who is called; or where a subscriber would have been found."""
        names = sorted(each.name for each in registry.all())
        if not names:
            return f"local://, and there is no subscriber (looked in: {_places()})"
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return f"local:// (subscribers: {', '.join(names[:_NAMED])}{more})"

    @classmethod
    def unroutable_hint(cls) -> str:
        """Where a subscriber would have been found."""
        return (
            f"No subscriber of this project is for this type (looked in: {_places()}). "
            "Write one, restart the relay, then run: "
            "manage.py replay_events --unroutable"
        )

    def open(self) -> None:
        """Find the subscribers, and start threads where the database allows them."""
        self._is_open = True
        registry.all()
        connection = connections[inbox_alias()]
        if connection.vendor == "sqlite" or connection.in_atomic_block:
            return
        self._crew = Crew(
            THREADS, self._make_worker, self._gave_up, self.settings.handler_timeout
        )
        self._crew.start()

    def close(self) -> None:
        """Stop taking events; a subscriber that is busy is not waited for long."""
        with self._changed:
            self._is_open = False
            self._waiting.clear()
            self._outcomes.clear()
            self._losses.clear()
            self._changed.notify_all()
        crew, self._crew = self._crew, None
        if crew is not None:
            self._dispatch.dismiss(crew.size)
            crew.join(time.monotonic() + 1.0)

    @property
    def ready(self) -> bool:
        """Always, while it is open."""
        return self._is_open

    @property
    def trouble(self) -> str:
        """Modules of subscribers that cannot be imported."""
        return "; ".join(
            f"{module} cannot be imported ({why})"
            for module, why in registry.broken_modules.items()
        )

    def send(self, events: Sequence[Outgoing], *, probe: bool = False) -> None:
        """Queue them."""
        with self._changed:
            self._waiting.extend(events)
            self._start_waiting()

    def outcomes(self, timeout: float) -> list[Outcome]:
        """What became of events; without threads, this is where subscribers run."""
        if self._crew is None:
            return self._work_off(timeout)
        self._crew.watch()
        with self._changed:
            if not self._outcomes and timeout > 0 and self._is_open:
                self._changed.wait(timeout)
            taken, self._outcomes = self._outcomes, []
            return taken

    def _work_off(self, seconds: float) -> list[Outcome]:
        if not self._waiting and seconds > 0 and self._is_open:
            with self._changed:
                self._changed.wait(seconds)
        deadline = time.monotonic() + seconds
        taken: list[Outcome] = []
        while self._waiting:
            found = self._prepare(self._waiting.popleft())
            if isinstance(found, LocalJob):
                with self._span(found) as span:
                    error = attempt(found, span)
                if isinstance(error, DatabaseGone):
                    _leave_connection()
                found = self._outcome(found, error)
            taken.append(found)
            if time.monotonic() >= deadline:
                break
        return taken

    def _start_waiting(self) -> None:
        """Hand to the threads what may run now."""
        if self._crew is None:
            return
        passed: deque[Outgoing] = deque()
        while self._waiting and self._running.total() < THREADS:
            event = self._waiting.popleft()
            if self._running[event.type] >= THREADS_PER_TYPE:
                passed.append(event)
                continue
            found = self._prepare(event)
            if isinstance(found, LocalJob):
                self._running[event.type] += 1
                self._dispatch.add(found)
            else:
                self._outcomes.append(found)
                self._changed.notify_all()
        self._waiting.extendleft(reversed(passed))

    def _make_worker(self) -> Worker[LocalJob]:
        return Worker(self._dispatch, self._span, self._report, "strangler-local")

    def _prepare(self, outgoing: Outgoing) -> LocalJob | Outcome:
        bound = registry.bound_to(outgoing.type)
        if not bound and not registry.broken_modules:
            return Outcome(outgoing.row, Kind.RETURNED, "no subscriber")
        try:
            envelope = envelope_of(outgoing, self.settings.source)
            todo = [each for each in bound if each.wants(envelope.headers)]
        except (ValueError, AttributeError) as error:  # Somebody edited the row.
            why = f"it cannot be read: {error}"
            return Outcome(outgoing.row, Kind.REJECTED, why, True)
        return LocalJob(envelope, outgoing.body, todo, outgoing=outgoing)

    def _span(self, job: LocalJob) -> AbstractContextManager[tracing.Span]:
        names = ",".join(each.name for each in job.todo)
        return tracing.processing(
            job.envelope.headers,
            system=self.system,
            destination=names,
            id=job.outgoing.id,
        )

    def _report(self, job: LocalJob, error: BaseException | None) -> None:
        self._land(job, self._outcome(job, error))

    def _gave_up(self, job: LocalJob, subscriber: Subscriber, why: str) -> None:
        job = LocalJob(job.envelope, job.body, [], outgoing=job.outgoing)
        error = TimeoutError(why)
        job.failures.append(Failure(subscriber, error))
        self._land(job, self._outcome(job, error))

    def _land(self, job: LocalJob, outcome: Outcome) -> None:
        self._dispatch.release(job)
        with self._changed:
            self._running[job.outgoing.type] -= 1
            self._outcomes.append(outcome)
            self._start_waiting()
            self._changed.notify_all()

    def _outcome(self, job: LocalJob, error: BaseException | None) -> Outcome:
        row = job.outgoing.row
        if isinstance(error, DatabaseGone):
            self._losses[row] += error.called
            if self._losses[row] < LOSSES:
                why = f"the database failed: {message(error)}"
                return Outcome(row, Kind.UNKNOWN, why)
        self._losses.pop(row, None)
        if isinstance(error, Refused):  # Somebody edited the row.
            return Outcome(row, Kind.REJECTED, f"it cannot be read: {error}", True)
        if isinstance(error, AnotherContent):
            return Outcome(row, Kind.REJECTED, str(error), True)
        errors = []
        for subscriber, raised in job.failures:
            self.on_error(subscriber, raised, job.outgoing)
            errors.append(failure(subscriber.name, raised)[:500])
        verdict = judge(job.failures, times=job.outgoing.attempts, delays=RETRY_DELAYS)
        delay = verdict.delay
        for name, why in registry.broken_modules.items():
            # Nobody knows which events it is for.
            errors.append(f"{name}: {why}")
            delay = max(delay or 0.0, RETRY_DELAYS[0])
        if not errors:
            return Outcome(row, Kind.CONFIRMED)
        return Outcome(
            row, Kind.REJECTED, "; ".join(errors), delay is None, after=delay or 0.0
        )

    def _log_error(
        self, subscriber: Subscriber, error: BaseException, event: Outgoing
    ) -> None:
        self._announcer.error(
            (subscriber.name, type(error)),
            "The subscriber %r failed: %s: %s",
            subscriber.name,
            type(error).__name__,
            message(error),
            exc_info=to_log(error),
            extra=fields(event.id, event.type, event.headers, lane=event.lane),
        )


def _places() -> str:
    """The modules in which the project's own apps may have subscribers."""
    modules = registry.modules_of_the_project()
    more = ", …" if len(modules) > _NAMED else ""
    return f"{', '.join(modules[:_NAMED])}{more}" if modules else "no app"


def _leave_connection() -> None:
    connection = connections[inbox_alias()]
    if not connection.in_atomic_block:  # A test's.
        connection.close()
