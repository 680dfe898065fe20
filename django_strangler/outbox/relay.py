"""
The relay: moves pending events from the outbox to the broker.

One thread does all database work and all deciding; the broker has its own. While the
broker works on a window of events, the loop reads the next and marks the last.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from django.db import DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler import conf, signals, tracing
from django_strangler.brokers import Broker, Kind, Outcome, Outgoing, make_broker
from django_strangler.brokers.patterns import matches
from django_strangler.exceptions import BrokerUnreachable

from .backlog import Backlog
from .backoff import backoff
from .leases import Leases
from .store import Store
from .wakeup import Wakeup

logger = logging.getLogger("django_strangler.outbox.relay")

WINDOW_BYTES = 32 * 1024 * 1024
BODIES_AT_ONCE = 8 * 1024 * 1024
MARK_AFTER = 0.05  # Seconds that a confirmed event waits for others to be marked with.
READ_PAUSE = 0.01  # Between two reads, while there is still something to send.
UNREADY_PAUSE = 0.1
AWAKE = 1.0  # After NOTIFY: how long to look every READ_PAUSE.
BACK_PRESSURE = 5.0  # The longest pause after a failure that is nobody's fault.
HELD_AT_MOST = 10_000
FAREWELL = 1.5  # Seconds to wait for confirms when asked to stop.


@dataclass(slots=True)
class Totals:
    """What a relay has done since it started."""

    confirmed: int = 0
    parked: int = 0
    retried: int = 0
    unknown: int = 0


class Relay:
    """Drains one database's outbox into a broker, in the lanes it can get."""

    def __init__(
        self,
        alias: str = "default",
        *,
        broker: Broker | None = None,
        settings: conf.Settings | None = None,
        steady: bool = True,
        stop: threading.Event | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings or conf.current()
        self.stop = stop or threading.Event()
        self.totals = Totals()
        self.on_progress: Callable[[Totals], object] = lambda totals: None
        self.connection: BaseDatabaseWrapper = connections[alias]
        self.broker = broker or make_broker(self.settings)
        self.store = Store(self.connection)
        self.leases = Leases(
            self.connection,
            length=self.settings.lease,
            steady=steady,
            monotonic=monotonic,
        )
        self.backlog = Backlog(capacity=4 * self.settings.batch_size)
        self._wakeup = Wakeup(self.connection, self.stop)
        self._monotonic = monotonic
        self._prepared: object = None  # The driver's connection that was set up.
        self._read_at = float("-inf")
        self._polled_at = float("-inf")
        self._oldest_unmarked: float | None = None
        self._awake_until = 0.0
        self._misses: dict[str | int, int] = {}  # In a row, by key or row.
        self._database_failures = 0
        self._database_error: Exception | None = None
        self._trouble = ""

    # Doors

    def run(self) -> None:
        """Drain until asked to stop, sleeping only while nothing is pending."""
        with tracing.untraced():
            self.broker.open()
            try:
                while not self.stop.is_set():
                    if not self._guarded_step():
                        self._rest()
            finally:
                self._farewell()

    def drain(self, *, patience: float = 10.0) -> Totals:
        """
        Relay until nothing is due in the lanes that nobody else holds.

        Raises ``BrokerUnreachable`` when the broker could not be used for ``patience``
        seconds. What is held for a later attempt is not waited for.
        """
        with tracing.untraced():
            self.broker.open()
            try:
                self._drain(patience)
            finally:
                self._farewell()
        return self.totals

    def _drain(self, patience: float) -> None:
        progressed = self._monotonic()
        before = replace(self.totals)
        while not self.stop.is_set():
            busy = self._guarded_step()
            if not self._database_failures and self._is_drained():
                return
            now = self._monotonic()
            if before != self.totals or (self.broker.ready and self.backlog.sent):
                before, progressed = replace(self.totals), now
            elif now - progressed > patience:
                self._give_up(patience)
                return
            if not busy:
                self.stop.wait(READ_PAUSE)

    def _give_up(self, patience: float) -> None:
        if self._database_error is not None:
            raise self._database_error
        if not self.broker.ready:
            raise BrokerUnreachable(
                f"The broker could not be used for {patience:g} s: "
                f"{self.broker.trouble or 'no answer'}. Events stay in the outbox."
            )

    def _is_drained(self) -> bool:
        if not self.leases.is_valid:
            return False
        if not self.leases.lanes:
            return True  # Others hold them all.
        if not self.backlog.is_empty or self.backlog.has_more:
            return False
        # Held by back-pressure, it is due still; held for its next attempt, it is not.
        return not (self._misses and self.backlog.held)

    # The loop

    def _guarded_step(self) -> bool:
        """One step; a database that fails is waited for."""
        try:
            busy = self.step()
        except (DatabaseError, InterfaceError) as error:
            if self.connection.in_atomic_block:
                raise
            self._database_failed(error)
            return True
        if self._database_failures:
            logger.info("The database %r is back", self.connection.alias)
            self._database_failures = 0
            self._database_error = None
        return busy

    def step(self) -> bool:
        """Do what can be done now; False when there was nothing."""
        self._prepare()
        lost = self.leases.keep()
        if lost:
            self.backlog.forget_unsent(lost)
        self._report_trouble()
        busy = self._settle(self.broker.outcomes(0))
        busy |= self._mark()
        self.on_progress(self.totals)
        if self.leases.leaving:
            self._hand_over()
        if not self.leases.is_valid:
            self.backlog.forget_unsent()
            return busy
        if not self.broker.ready:
            # Read again in order once it is back.
            self.backlog.forget_unsent()
            self._settle(self.broker.outcomes(UNREADY_PAUSE))
            return True
        busy |= self._read()
        busy |= self._send()
        if self.backlog.sent:
            # The broker works; wait for it, but not beyond what else is to be done.
            self._settle(self.broker.outcomes(READ_PAUSE))
            busy = True
        return busy or not self.backlog.is_empty

    def _prepare(self) -> None:
        if self.connection.connection is None:
            self.connection.ensure_connection()
        if self._prepared is not self.connection.connection:
            self.store.prepare()
            self._prepared = self.connection.connection

    def _read(self) -> bool:
        backlog, now = self.backlog, self._monotonic()
        backlog.release(now)
        batch = self.settings.batch_size
        if backlog.ready >= batch or backlog.held >= HELD_AT_MOST:
            return False
        polls = now >= self._polled_at + self.settings.poll_interval
        looks = backlog.has_more or polls or now < self._awake_until
        if not looks or (now < self._read_at + READ_PAUSE and backlog.unmarked):
            return False
        lanes = self.leases.lanes - self.leases.leaving
        if not lanes:
            return False
        self._read_at = now
        limit = 4 * batch
        known = backlog.known_rows()
        backlog.has_more = False
        due = self.store.read(
            lanes,
            limit,
            without_rows=known,
            without_keys=backlog.left_out_keys(),
            parked_hold=self.settings.parked_holds_key,
        )
        backlog.has_more |= len(due) == limit
        backlog.add(due, now)
        if polls:
            delayed = self.store.read_delayed(lanes, batch, without_rows=known)
            backlog.add(delayed, now)
            # With more of them due, the next poll is at once.
            if len(delayed) < batch:
                self._polled_at = now
            due += delayed
        if due:
            self._awake_until = now + AWAKE
        return bool(due)

    def _send(self) -> bool:
        backlog = self.backlog
        room = self.settings.window - backlog.unmarked
        # In batches, so that the broker begins while the rest is prepared.
        events = backlog.take(min(room, self.settings.batch_size), WINDOW_BYTES)
        if not events:
            return False
        small: list[Outgoing] = []
        large: list[Outgoing] = []
        size = 0
        for event in events:
            if event.body is not None:
                small.append(event)
                continue
            large.append(event)
            size += event.size
            if size >= BODIES_AT_ONCE:
                self._send_large(large)
                large, size = [], 0
        # One event of a key at most is under way, so these may go before those.
        if small:
            self._hand_to_broker(small)
        if large:
            self._send_large(large)
        return True

    def _send_large(self, events: list[Outgoing]) -> None:
        bodies = self.store.bodies(event.row for event in events)
        found = [
            event._replace(body=bodies[event.row])
            for event in events
            if event.row in bodies
        ]
        for event in events:
            if event.row not in bodies:  # Confirmed elsewhere and deleted meanwhile.
                self.backlog.take_back(event.row)
                self.backlog.advance(event.order_key)
        self._hand_to_broker(found)

    def _hand_to_broker(self, events: list[Outgoing]) -> None:
        if self.leases.is_valid:
            self.broker.send(events)
            return
        for event in events:
            self.backlog.take_back(event.row)
            self.backlog.forget_key(event.order_key)

    # What became of them

    def _settle(self, outcomes: list[Outcome]) -> bool:
        """Act on what the broker reported."""
        if not outcomes:
            return False
        backlog, misses = self.backlog, self._misses
        troubled: list[Outcome] = []
        for outcome in outcomes:
            if outcome.kind is not Kind.CONFIRMED:
                troubled.append(outcome)
                continue
            backlog.confirm(outcome.row)
        if misses:
            self._forgive(outcomes)
        if troubled:
            self._settle_troubled(troubled)
        if backlog.confirmed and self._oldest_unmarked is None:
            self._oldest_unmarked = self._monotonic()
        return True

    def _forgive(self, outcomes: list[Outcome]) -> None:
        for event in self.backlog.confirmed[-len(outcomes) :]:
            self._misses.pop(event.order_key or event.row, None)

    def _settle_troubled(self, outcomes: list[Outcome]) -> None:
        unroutable: list[Outgoing] = []
        refused: dict[tuple[str, bool, int], list[Outgoing]] = defaultdict(list)
        for outcome in outcomes:
            event = self.backlog.take_back(outcome.row)
            if event is None:
                continue
            if outcome.kind is Kind.UNKNOWN:
                self._hold_back(event)
            elif outcome.kind is Kind.REJECTED:
                key = (outcome.reason, outcome.final, event.attempts)
                refused[key].append(event)
            elif self._ignores_unroutable(event.type):
                self.backlog.confirmed.append(event)
                self.backlog.advance(event.order_key)
            else:
                unroutable.append(event)
        if unroutable:
            self._park(
                unroutable,
                "unroutable",
                "No queue is bound for this type. Bind one, then run: "
                "manage.py replay_events --unroutable",
            )
        for (reason, final, attempts), events in refused.items():
            if final:
                self._park(events, "rejected", reason)
            elif attempts + 1 >= self.settings.max_attempts:
                self._park(events, "attempts", reason)
            else:
                self._retry(events, reason, attempts + 1)

    def _hold_back(self, event: Outgoing) -> None:
        """Not its fault: it waits a little, in memory only, and nothing is counted."""
        self.totals.unknown += 1
        token = event.order_key or event.row
        count = self._misses[token] = self._misses.get(token, 0) + 1
        pause = backoff(count, first=0.1, most=BACK_PRESSURE)
        self.backlog.hold(event, self._monotonic() + pause)

    def _retry(self, events: list[Outgoing], reason: str, attempts: int) -> None:
        seconds = backoff(attempts, first=1.0, most=self.settings.max_backoff)
        self.store.retry(
            [event.row for event in events],
            error=reason,
            seconds=seconds,
            token=self.leases.token,
        )
        # Committed. Held whether or not the row took it: then it is read again.
        until = self._monotonic() + seconds
        for event in events:
            self.backlog.hold(event, until)
        self.totals.retried += len(events)

    def _park(self, events: list[Outgoing], reason: str, error: str) -> None:
        parked = self.store.park(
            [event.row for event in events],
            reason=reason,
            error=error,
            token=self.leases.token,
        )
        certain = parked == len(events) and not self.settings.parked_holds_key
        for event in events:
            self._misses.pop(event.order_key or event.row, None)
            if certain:
                self.backlog.advance(event.order_key)
            else:
                # Some are not ours to park, or they hold their keys: the table knows.
                self.backlog.forget_key(event.order_key)
        self.totals.parked += parked
        if parked:
            signals.events_parked.send_robust(
                Relay, events=events, reason=reason, error=error
            )

    def _ignores_unroutable(self, type: str) -> bool:
        rules = self.settings.unroutable.items()
        return next((r for p, r in rules if matches(p, type)), "park") == "ignore"

    def _mark(self) -> bool:
        """Mark what is confirmed: a whole batch, or what has waited long enough."""
        backlog = self.backlog
        if not backlog.confirmed:
            return False
        waited = self._monotonic() - (self._oldest_unmarked or 0.0)
        is_last = not backlog.sent and not backlog.ready
        if not (
            len(backlog.confirmed) >= self.settings.batch_size
            or waited >= MARK_AFTER
            or is_last
        ):
            return False
        events = backlog.confirmed
        mark = self.store.confirm if self.settings.retention else self.store.delete
        mark(event.row for event in events)  # Kept and repeated if this raises.
        backlog.confirmed = []
        self._oldest_unmarked = None
        self.totals.confirmed += len(events)
        if signals.events_confirmed.has_listeners(Relay):
            signals.events_confirmed.send_robust(Relay, events=events)
        return True

    # Coming and going

    def _hand_over(self) -> None:
        """Give lanes to a relay that has joined, once nothing of them is under way."""
        leaving = self.leases.leaving
        self.backlog.forget_unsent(leaving)
        if not self.backlog.is_under_way(leaving):
            self.leases.give_back(leaving)

    def _rest(self) -> None:
        now = self._monotonic()
        if now < self._awake_until:
            pause = READ_PAUSE
        else:
            pause = min(
                self._polled_at + self.settings.poll_interval - now,
                self.settings.lease / 4,
            )
        if self.backlog.held_until is not None:
            pause = min(pause, self.backlog.held_until - now)
        if self._wakeup.wait(max(pause, READ_PAUSE)):
            self._awake_until = self._monotonic() + AWAKE

    def _report_trouble(self) -> None:
        trouble = self.broker.trouble
        if trouble == self._trouble:
            return
        if trouble:
            logger.warning("Events wait in the outbox: %s", trouble)
        else:
            logger.info("The broker takes events again")
        self._trouble = trouble

    def _database_failed(self, error: Exception) -> None:
        self._database_failures += 1
        self._database_error = error
        if self._database_failures == 1:
            logger.warning(
                "The database %r failed; the relay waits for it and loses nothing: %s",
                self.connection.alias,
                error,
            )
        self.backlog.forget_unsent()
        self.connection.close()
        pause = backoff(self._database_failures, first=0.05, most=BACK_PRESSURE)
        self.stop.wait(pause)

    def _farewell(self) -> None:
        """Wait a moment for confirms, mark them, give the lanes back."""
        deadline = self._monotonic() + FAREWELL
        try:
            self.backlog.forget_unsent()
            while self.backlog.sent and (left := deadline - self._monotonic()) > 0:
                self._settle(self.broker.outcomes(min(left, 0.1)))
                self.backlog.forget_unsent()
            self._mark()
            self.leases.leave()
        except (DatabaseError, InterfaceError) as error:
            if self.connection.in_atomic_block:
                raise
            logger.warning(
                "The database %r failed while the relay stopped; its lanes come free "
                "in %g s: %s",
                self.connection.alias,
                self.settings.lease,
                error,
            )
        finally:
            self.broker.close()
            if not self.connection.in_atomic_block:
                # It was set up for a relay; whoever comes next gets a new one.
                self.connection.close()
