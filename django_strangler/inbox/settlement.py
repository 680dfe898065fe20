"""What becomes of a delivery: handled, tried again, passed on, or a dead letter."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache

from django_strangler import conf, tracing
from django_strangler.announcing import Announcer, Limits
from django_strangler.brokers.base import Delivery, Source
from django_strangler.events import Publisher
from django_strangler.logs import fields
from django_strangler.printable import PlainTracebacks, printable

from . import trust
from .decoding import Refused, read
from .dispatch import Dispatch, Job
from .failures import Reason, Record, failure, message, to_log
from .handling import AnotherContent, DatabaseGone
from .retrying import IN_PLACE, Failure, is_final, judge
from .subscribers import Subscriber

logger = logging.getLogger("django_strangler.inbox")
logger.addFilter(PlainTracebacks())

LONGEST_DATABASE_PAUSE = 5.0
LOSSES = 3  # Of its own connection: from then on, it is the subscriber's failure.


@dataclass
class Totals:
    """What the consumer has done since it started."""

    handled: int = 0
    retried: int = 0
    dead: int = 0


@dataclass(slots=True, eq=False)
class Delivered(Job):
    """A job that came from a queue."""

    delivery: Delivery = field(kw_only=True)
    record: Record = field(kw_only=True)
    is_foreign: bool = field(default=False, kw_only=True)  # Its trace is another's.
    # By subscriber: why it is not called again, and why it failed.
    given_up: dict[str, str] = field(default_factory=dict, kw_only=True)
    errors: dict[str, str] = field(default_factory=dict, kw_only=True)
    reason: Reason = field(default=Reason.FAILED, kw_only=True)


class Settlement:
    """
    Decides on every delivery, and tells the source.

    Deliveries arrive on the source's thread, and are reported by any worker's.
    """

    def __init__(
        self,
        source: Source,
        subscribers: Sequence[Subscriber],
        settings: conf.Settings,
        *,
        delays: Sequence[float],  # Of subscribers without a policy of their own.
        others: Callable[[str], Collection[str]] | None = None,
        in_place: Sequence[float] = IN_PLACE,
    ) -> None:
        self.totals = Totals()
        self.dispatch: Dispatch[Delivered] = Dispatch(
            lambda job: source.is_current(job.delivery)
        )
        self._source, self._subscribers, self._settings = source, subscribers, settings
        # Looked up once; whoever publishes chooses the types, so not of each for ever.
        self._of_type = lru_cache(maxsize=1000)(self._find)
        self._delays, self._in_place = tuple(delays), in_place
        # Subscribers that a live consumer of the queue has, and this one lacks.
        self._others = others or _nobody
        self._lock = threading.Lock()
        self._database_failures = 0
        self._announcer = Announcer(logger)
        # Apart: whoever can publish chooses these kinds, and must not crowd out ours.
        self._refusals = Announcer(logger, limits=Limits(kinds=20))

    # The source's thread.

    def arrived(self, delivery: Delivery) -> None:
        """Find out who has to handle it."""
        record = Record.of(delivery)
        try:
            envelope = read(delivery, max_bytes=self._settings.max_payload_bytes)
            bound, rules = self._of_type(envelope.type)
            if not trust.may_publish(envelope.source, rules):
                raise trust.Untrusted(
                    f"{_named(envelope.source)} may not publish {envelope.type!r:.100} "
                    "(TRUSTED_PUBLISHERS)"
                )
        except Refused as refused:
            self._bury(delivery, record, refused.reason, str(refused))
            return
        job = Delivered(
            envelope,
            delivery.body,
            [],
            delivery=delivery,
            record=record,
            is_foreign=trust.is_foreign(
                envelope.source, rules, app=delivery.app, ours=self._settings.source
            ),
        )
        for each in bound:
            if not each.wants(envelope.headers):
                continue
            if each.name in record.given_up:
                job.given_up[each.name] = record.error
            elif each.trusted is None or trust.is_among(envelope.source, each.trusted):
                job.todo.append(each)
            else:
                job.reason = Reason.UNTRUSTED
                why = f"{each.name} does not trust {_named(envelope.source)}"
                job.given_up[each.name] = why
        if not bound and not self._others(envelope.type):
            # Perhaps it is for a version that is about to be deployed.
            job.reason = Reason.NO_SUBSCRIBER
            job.errors[""] = f"nobody subscribes to {envelope.type!r:.300}"
            self._again_or_never(job, self._next_delay(job))
        elif job.todo:
            self.dispatch.add(job)
        else:
            self._finish(job)

    def _find(
        self, type: str
    ) -> tuple[Sequence[Subscriber], Sequence[Collection[str]]]:
        bound = [each for each in self._subscribers if each.is_bound_to(type)]
        return bound, trust.rules_of(type, self._settings.trusted_publishers)

    # Any worker's thread.

    def span(self, job: Delivered) -> AbstractContextManager[tracing.Span]:
        """The span around a try."""
        source, envelope = self._source, job.envelope
        return tracing.processing(
            envelope.headers,
            system=source.system,
            destination=f"{source.settings.exchange}:{envelope.type}:{source.queue.name}",
            routing_key=envelope.type,
            server=job.delivery.server,
            id=envelope.id,
            correlation_id=envelope.correlation_id,
            since=job.record.first,
            is_foreign=job.is_foreign,
        )

    def report(self, job: Delivered, error: BaseException | None) -> None:
        """What became of a try."""
        if error is None:
            self._database_answers()
            self._finish(job)
        elif not self._source.is_current(job.delivery):
            pass  # It comes again anyway.
        elif isinstance(error, DatabaseGone) and not self._is_its_own_fault(job, error):
            self._wait_for_database(job, error)
            return
        elif isinstance(error, Refused):
            self._bury(job.delivery, job.record, error.reason, str(error))
        elif isinstance(error, AnotherContent):
            self._bury(job.delivery, job.record, Reason.CONFLICT, str(error))
        elif job.tries < len(self._in_place) and not self._is_in_vain(job):
            self._log(job, logging.INFO, "%r failed and is tried again: %s")
            job.tries += 1
            until = time.monotonic() + self._in_place[job.tries - 1]
            self.dispatch.pause(job, until)
            return
        else:
            self._log(job, logging.ERROR, "The subscriber %r failed: %s")
            self._again_or_never(job, self._judge(job, job.failures))
        self.dispatch.release(job)

    # The driver's thread.

    def gave_up(self, job: Delivered, subscriber: Subscriber, why: str) -> None:
        """The subscriber did not return in time; its thread is left to itself."""
        # A job of its own: that thread has still to notice.
        rest = Delivered(
            job.envelope,
            job.body,
            [each for each in job.todo if each is not subscriber],
            delivery=job.delivery,
            record=job.record,
            given_up=dict(job.given_up),
        )
        delay = self._judge(rest, [Failure(subscriber, TimeoutError(why))])
        if delay is None and rest.todo:
            # It is not tried again; the others have still to be called.
            self.dispatch.pause(rest, time.monotonic())
        else:
            self._again_or_never(rest, delay)
            self.dispatch.release(job)

    # The decisions.

    def _finish(self, job: Delivered) -> None:
        """Everybody here is through with it."""
        if names := self._others(job.envelope.type):
            self._pass_on(job, names)
            return
        if job.given_up:
            self._again_or_never(job, None)
        else:
            self._source.done(job.delivery)
            self._count(handled=1)

    def _judge(self, job: Delivered, failures: Sequence[Failure]) -> float | None:
        """Note what is given up; how long to wait for the next delivery, if any."""
        verdict = judge(failures, times=job.record.times, delays=self._delays)
        for each in failures:
            name = each.subscriber.name
            job.errors[name] = failure(name, each.error)
        job.given_up.update({name: job.errors[name] for name in verdict.given_up})
        return verdict.delay

    def _again_or_never(self, job: Delivered, delay: float | None) -> None:
        errors = {**job.given_up, **job.errors}.values()
        error = "; ".join(dict.fromkeys(filter(None, errors)))
        if delay is None:
            self._bury(job.delivery, job.record, job.reason, error)
            return
        notes = job.record.notes(job.reason, error, given_up=tuple(job.given_up))
        self._source.move(job.delivery, delay, notes)
        self._count(retried=1)

    def _pass_on(self, job: Delivered, names: Collection[str]) -> None:
        """A consumer beside this one has subscribers for it that this one lacks."""
        what = f"it is also for {', '.join(sorted(names))}, which this consumer lacks"
        self._announcer.warning(
            ("passed on", *sorted(names)),
            "The queue %r has a consumer with subscribers that this one lacks: %s. "
            "Their events are left to it; update or stop this one.",
            self._source.queue.name,
            ", ".join(sorted(names)),
        )
        delays = self._source.queue.retry_delays
        if not delays:  # Nowhere to wait in.
            self._bury(job.delivery, job.record, Reason.NEWER, what)
            return
        notes = job.record.notes(
            Reason.NEWER, what, given_up=tuple(job.given_up), counts=False
        )
        self._source.move(job.delivery, delays[0], notes)
        self._count(retried=1)

    def _bury(
        self, delivery: Delivery, record: Record, reason: Reason, error: str
    ) -> None:
        self._refusals.error(
            (reason, delivery.routing_key),
            "The delivery %s became a dead letter (%s): %s",
            printable(delivery.id, most=100),
            reason.value,
            printable(error, most=2000),
            extra=fields(delivery.id, delivery.type, delivery.headers),
        )
        self._source.move(delivery, None, record.notes(reason, error))
        self._count(dead=1)

    def _next_delay(self, job: Delivered) -> float | None:
        times = job.record.times
        return self._delays[times] if times < len(self._delays) else None

    def _is_in_vain(self, job: Delivered) -> bool:
        return bool(job.failures) and all(is_final(*each) for each in job.failures)

    def _is_its_own_fault(self, job: Delivered, error: DatabaseGone) -> bool:
        """Whether a subscriber costs its connection whenever it is called."""
        if not error.called:
            return False
        job.losses += 1
        if job.losses < LOSSES:
            return False
        job.tries = len(self._in_place)  # It had its tries.
        return True

    def _wait_for_database(self, job: Delivered, error: DatabaseGone) -> None:
        """It is nobody's fault: no attempt is counted, and others fare no better."""
        with self._lock:
            self._database_failures += 1
            failures = self._database_failures
        if failures == 1:
            logger.warning("The database failed, and is waited for: %s", message(error))
        pause = min(0.1 * failures, LONGEST_DATABASE_PAUSE)
        self.dispatch.pause(job, time.monotonic() + pause)

    def _database_answers(self) -> None:
        if self._database_failures:
            with self._lock:
                self._database_failures = 0

    def _log(self, job: Delivered, level: int, text: str) -> None:
        """Who failed; with where it did, once that is no passing trouble."""
        envelope = job.envelope
        for subscriber, raised in job.failures:
            self._announcer.log(
                level,
                (level, subscriber.name, type(raised)),
                text,
                subscriber.name,
                f"{type(raised).__name__}: {message(raised)}",
                exc_info=to_log(raised) if level >= logging.ERROR else None,
                extra=fields(envelope.id, envelope.type, envelope.headers),
            )

    def _count(self, *, handled: int = 0, retried: int = 0, dead: int = 0) -> None:
        with self._lock:
            self.totals.handled += handled
            self.totals.retried += retried
            self.totals.dead += dead


def _nobody(_type: str) -> Collection[str]:
    return ()


def _named(source: Publisher) -> str:
    if source.vouched:
        return f"the user {source.name!r:.100}"
    return f"a publisher that calls itself {source.name!r:.100}"
