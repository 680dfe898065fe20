"""
What became of events: confirmed, ignored, held back, tried again later, or parked.

The rule of marks. A confirm is a fact: marking it needs no lease, and is repeated until
it succeeds. A retry or a parking is an opinion: it carries the lease's token, and is
committed before the next event of its key is sent.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django_strangler import signals
from django_strangler.announcing import CALM, Announcer
from django_strangler.brokers import Kind, Outcome, Outgoing
from django_strangler.brokers.patterns import matches
from django_strangler.logs import fields

from .backoff import backoff
from .held import LOST_PROBE, UNROUTABLE
from .marking import Marks
from .models import OutboxEvent
from .work import Work

logger = logging.getLogger("django_strangler.outbox.relay")

MARK_AFTER = 0.1  # Seconds that a confirmed event waits for others to be marked with.
BACK_PRESSURE = 5.0  # The longest pause after a failure that is not the event's fault.
REASON_LENGTH = 2000
NOT_OURS = 1.0  # The pause where another relay knows better.

REJECTED = "rejected"
ATTEMPTS = "attempts"


@dataclass(slots=True)
class Totals:
    """What a relay has done since it started."""

    confirmed: int = 0
    parked: int = 0
    retried: int = 0
    unknown: int = 0


class Settling:
    """Acts on what the broker reports, and marks it in batches."""

    def __init__(self, work: Work, marks: Marks) -> None:
        self.totals = Totals()
        self._work = work
        self._backlog, self._held = work.backlog, work.held
        self._marks, self._leases = marks, work.leases
        self._settings, self._clock = work.settings, work.clock
        self._oldest_unmarked: float | None = None
        self._misses: dict[str | int, int] = {}  # In a row, by key or row.
        self._announcer = Announcer(logger, monotonic=work.clock)

    def settle(self, outcomes: Iterable[Outcome]) -> bool:
        """Act on what the broker reported."""
        backlog = self._backlog
        troubled: list[tuple[Outgoing, Outcome]] = []
        landed = False
        for outcome in outcomes:
            event = backlog.land(outcome.row)
            if event is None:
                continue
            landed = True
            if outcome.kind is not Kind.CONFIRMED:
                troubled.append((event, outcome))
                continue
            backlog.confirm(event)
            if self._misses:
                self._misses.pop(event.order_key or event.row, None)
            if event.type in self._held:
                self._held.confirm(
                    event.type,
                    event.row,
                    self._clock(),
                    window=self._settings.relay.window,
                )
        if troubled:
            # If the database fails in here, what is left is read and sent again.
            self._settle_troubled(troubled)
        elif landed:
            self._announcer.over(
                "back pressure",
                "No event is held back any more",
                calm=CALM,
                extra={"relay": self._leases.name},
            )
        if backlog.confirmed and self._oldest_unmarked is None:
            self._oldest_unmarked = self._clock()
        return landed

    def give_up_waiting(self, rows: Sequence[int]) -> None:
        """No outcome will come of these."""
        self.settle(
            Outcome(row, Kind.UNKNOWN, "the broker never said what became of it")
            for row in rows
        )

    def mark(self, *, at_once: bool = False) -> bool:
        """Mark what is confirmed: a whole batch, or what has waited long enough."""
        backlog = self._backlog
        if not backlog.confirmed:
            return False
        waited = self._clock() - (self._oldest_unmarked or 0.0)
        is_last = not backlog.sent and not backlog.ready
        batch = min(
            self._settings.relay.batch_size, max(1, self._settings.relay.window // 2)
        )
        if not (
            at_once
            or is_last
            or len(backlog.confirmed) >= batch
            or waited >= MARK_AFTER
        ):
            return False
        events = backlog.confirmed
        mark = self._marks.confirm if self._settings.retention else self._marks.delete
        # Kept and repeated if this raises.
        if mark(event.row for event in events) < len(events):
            # Another relay has marked some: it may have our lanes.
            self._leases.look_again()
        backlog.confirmed = []
        self._oldest_unmarked = None
        self.totals.confirmed += len(events)
        if signals.events_confirmed.has_listeners(OutboxEvent):
            signals.events_confirmed.send_robust(OutboxEvent, events=events)
        return True

    def forget_misses(self) -> None:
        """Other relays have some of those keys now."""
        self._misses.clear()

    def _settle_troubled(self, troubled: list[tuple[Outgoing, Outcome]]) -> None:
        unroutable: list[Outgoing] = []
        refused: dict[tuple[str, bool, int, float], list[Outgoing]] = defaultdict(list)
        for event, said in troubled:
            outcome = said._replace(reason=_shown(said.reason))
            if outcome.kind is Kind.UNKNOWN and outcome.cause.holds_type:
                self._hold_type(event, outcome.cause.value, outcome.reason)
            elif outcome.kind is Kind.UNKNOWN:
                self._hold_back(event, outcome)
            elif outcome.kind is Kind.REJECTED:
                final, after = outcome.final, outcome.after
                key = (outcome.reason, final, event.attempts, after)
                refused[key].append(event)
                self._held.forget(event.type, event.row, self._clock())
            elif self._ignores_unroutable(event.type):
                self._backlog.confirm(event)
                self._held.forget(event.type, event.row, self._clock())
            elif self._has_grace(event.type):
                self._hold_type(event, UNROUTABLE, outcome.reason)
            else:
                unroutable.append(event)
        if unroutable:
            self._park(unroutable, UNROUTABLE, self._work.broker.unroutable_hint())
        for (reason, final, attempts, after), events in refused.items():
            if final:
                self._park(events, REJECTED, reason)
            elif attempts + 1 >= self._settings.max_attempts:
                self._park(events, ATTEMPTS, reason)
            else:
                self._retry(events, reason, attempts + 1, after)

    def _hold_type(self, event: Outgoing, cause: str, reason: str) -> None:
        """Not its fault: it stays in the table, and the others of its type as well."""
        type, now = event.type, self._clock()
        self.totals.unknown += 1
        is_new = type not in self._held.types
        self._held.refuse(type, event.row, cause, reason, now)
        if cause == UNROUTABLE:
            ends = self._held[type].since + self._settings.unroutable_grace
            self._held.probe_by(type, ends, now)
        self._backlog.leave(event)
        if is_new:
            self._backlog.drop_types({type})
            logger.warning(
                "Events of type %r wait in the outbox, and others go on; one is tried "
                "now and then: %s",
                type,
                reason,
                extra=fields(event.id, type, event.headers, relay=self._leases.name),
            )

    def _has_grace(self, type: str) -> bool:
        """Whether a queue may still come; from then on, what is returned is parked."""
        grace = self._settings.unroutable_grace
        if not grace or not self._work.broker.queues_may_come:
            return False
        if type not in self._held:
            return True
        held = self._held[type]
        if held.parks:
            return False
        if held.cause == UNROUTABLE and self._clock() >= held.since + grace:
            self._held.park(type)
            self._backlog.has_forgotten = True
            return False
        return True

    def _hold_back(self, event: Outgoing, outcome: Outcome) -> None:
        """Not its fault: it waits a little, in memory only, and nothing is counted."""
        self.totals.unknown += 1
        token = event.order_key or event.row
        count = self._misses[token] = self._misses.get(token, 0) + 1
        pause = backoff(count, first=0.1, most=BACK_PRESSURE)
        self._held.forget(event.type, event.row, self._clock(), pause=LOST_PROBE)
        self._backlog.hold(event, self._clock() + pause, is_due=True)
        if count > 1:
            self._announcer.once(
                "back pressure",
                "The broker does not take some events, of type %r for one; they are "
                "sent again and again: %s",
                event.type,
                outcome.reason,
                extra={"relay": self._leases.name},
            )

    def _retry(
        self, events: list[Outgoing], reason: str, attempts: int, after: float
    ) -> None:
        seconds = after or backoff(
            attempts, first=1.0, most=self._settings.relay.max_backoff
        )
        asked = self._clock()
        counted = self._marks.retry(
            [event.row for event in events],
            error=reason,
            seconds=seconds,
            token=self._leases.token,
        )
        self.totals.retried += counted
        if counted < len(events):
            self._leases.look_again()
            seconds = min(seconds, NOT_OURS)  # Then the table knows.
        for event in events:
            self._misses.pop(event.order_key or event.row, None)
            self._backlog.hold(event, asked + seconds)

    def _park(self, events: list[Outgoing], reason: str, error: str) -> None:
        rows = [event.row for event in events]
        count = self._marks.park(
            rows, reason=reason, error=error, token=self._leases.token
        )
        parked = set(rows) if count == len(rows) else set[int]()
        if not parked:
            # Some are not ours to park: another relay has their lanes, or knew better.
            parked = self._marks.parked_among(rows)
            self._leases.look_again()
        for event in events:
            self._misses.pop(event.order_key or event.row, None)
            if event.row not in parked:
                self._backlog.hold(event, self._clock() + NOT_OURS, is_due=True)
            elif self._settings.parked_holds_key:
                self._backlog.drop(event)  # And its key: reads leave that out.
            else:
                self._backlog.finish(event)
        self.totals.parked += count
        if count:
            signals.events_parked.send_robust(
                OutboxEvent,
                events=[event for event in events if event.row in parked],
                reason=reason,
                error=error,
                relay=self._leases.name,
            )

    def _ignores_unroutable(self, type: str) -> bool:
        rules = self._settings.unroutable.items()
        return next((r for p, r in rules if matches(p, type)), "park") == "ignore"


def _shown(reason: str) -> str:
    # What a broker says may hold what no database and no log takes.
    text = reason.encode("ascii", "backslashreplace").decode().replace("\x00", "\\0")
    return text[:REASON_LENGTH]
