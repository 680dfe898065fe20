"""
What became of events: confirmed, ignored, held back, tried again later, or parked.

The rule of marks. A confirm is a fact: marking it needs no lease, and is repeated until
it succeeds. A retry or a parking is an opinion: it carries the lease's token, and is
committed before the next event of its key is sent.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from django_strangler import conf, signals
from django_strangler.brokers import Kind, Outcome, Outgoing
from django_strangler.brokers.patterns import matches

from .backlog import Backlog
from .backoff import backoff
from .leases import Leases
from .models import OutboxEvent
from .store import Store
from .troubles import Trouble

logger = logging.getLogger("django_strangler.outbox.relay")

MARK_AFTER = 0.1  # Seconds that a confirmed event waits for others to be marked with.
BACK_PRESSURE = 5.0  # The longest pause after a failure that is not the event's fault.
REASON_LENGTH = 2000
NOT_OURS = 1.0  # The pause where another relay knows better.

UNROUTABLE = "unroutable"
REJECTED = "rejected"
ATTEMPTS = "attempts"
HINT = (
    "No queue is bound for this type. Bind one, then run: "
    "manage.py replay_events --unroutable"
)


@dataclass(slots=True)
class Totals:
    """What a relay has done since it started."""

    confirmed: int = 0
    parked: int = 0
    retried: int = 0
    unknown: int = 0


class Settling:
    """Acts on what the broker reports, and marks it in batches."""

    def __init__(
        self,
        backlog: Backlog,
        store: Store,
        leases: Leases,
        settings: conf.Settings,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.totals = Totals()
        self._backlog = backlog
        self._store = store
        self._leases = leases
        self._settings = settings
        self._monotonic = monotonic
        self._oldest_unmarked: float | None = None
        self._misses: dict[str | int, int] = {}  # In a row, by key or row.
        self._back_pressure = Trouble(
            logger,
            over="No event is held back any more",
            fields={"relay": leases.name},
            monotonic=monotonic,
        )

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
        if troubled:
            # If the database fails in here, what is left is read and sent again.
            self._settle_troubled(troubled)
        elif landed:
            self._back_pressure.is_away()
        if backlog.confirmed and self._oldest_unmarked is None:
            self._oldest_unmarked = self._monotonic()
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
        waited = self._monotonic() - (self._oldest_unmarked or 0.0)
        is_last = not backlog.sent and not backlog.ready
        batch = min(self._settings.batch_size, max(1, self._settings.window // 2))
        if not (
            at_once
            or is_last
            or len(backlog.confirmed) >= batch
            or waited >= MARK_AFTER
        ):
            return False
        events = backlog.confirmed
        mark = self._store.confirm if self._settings.retention else self._store.delete
        mark(event.row for event in events)  # Kept and repeated if this raises.
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
        refused: dict[tuple[str, bool, int], list[Outgoing]] = defaultdict(list)
        for event, said in troubled:
            outcome = said._replace(reason=_shown(said.reason))
            if outcome.kind is Kind.UNKNOWN:
                self._hold_back(event, outcome)
            elif outcome.kind is Kind.REJECTED:
                key = (outcome.reason, outcome.final, event.attempts)
                refused[key].append(event)
            elif self._ignores_unroutable(event.type):
                self._backlog.confirm(event)
            else:
                unroutable.append(event)
        if unroutable:
            self._park(unroutable, UNROUTABLE, HINT)
        for (reason, final, attempts), events in refused.items():
            if final:
                self._park(events, REJECTED, reason)
            elif attempts + 1 >= self._settings.max_attempts:
                self._park(events, ATTEMPTS, reason)
            else:
                self._retry(events, reason, attempts + 1)

    def _hold_back(self, event: Outgoing, outcome: Outcome) -> None:
        """Not its fault: it waits a little, in memory only, and nothing is counted."""
        self.totals.unknown += 1
        token = event.order_key or event.row
        count = self._misses[token] = self._misses.get(token, 0) + 1
        pause = max(backoff(count, first=0.1, most=BACK_PRESSURE), outcome.pause)
        # What the broker itself holds back is not waited for by who drains once.
        is_due = not outcome.pause
        self._backlog.hold(event, self._monotonic() + pause, is_due=is_due)
        if count > 1:
            self._back_pressure.comes(
                f"The broker does not take some events, of type {event.type!r} for "
                f"one; they are sent again and again: {outcome.reason}"
            )

    def _retry(self, events: list[Outgoing], reason: str, attempts: int) -> None:
        seconds = backoff(attempts, first=1.0, most=self._settings.max_backoff)
        asked = self._monotonic()
        counted = self._store.retry(
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
        count = self._store.park(
            rows, reason=reason, error=error, token=self._leases.token
        )
        parked = set(rows) if count == len(rows) else set[int]()
        if not parked:
            # Some are not ours to park: another relay has their lanes, or knew better.
            parked = self._store.parked_among(rows)
            self._leases.look_again()
        for event in events:
            self._misses.pop(event.order_key or event.row, None)
            if event.row not in parked:
                self._backlog.hold(event, self._monotonic() + NOT_OURS, is_due=True)
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
