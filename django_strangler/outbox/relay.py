"""
The relay: moves pending events from the outbox to the broker.

One thread does all database work and all deciding; the broker has its own. While the
broker works on a window of events, the loop reads the next and marks the last.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler import conf, tracing
from django_strangler.announcing import CALM, Announcer
from django_strangler.brokers import Broker, make_broker
from django_strangler.clock import since_boot
from django_strangler.databases import (
    a_test_never_commits,
    is_transient,
    own_connection,
)
from django_strangler.exceptions import BrokerUnreachable, InsideTransaction

from . import held_rows
from .alarm import READ_PAUSE
from .backlog import Backlog
from .backoff import backoff
from .draining import Draining
from .held import Change, Held
from .leases import Leases, LeftOut
from .marking import Marks
from .models import outbox_alias
from .notify import Listener
from .probing import Probing
from .reading import Reading
from .rounds import PACE, Pace
from .sending import LIMITS, Sending, SendingLimits
from .settling import Settling
from .settling import Totals as Totals
from .store import Store
from .work import Work

logger = logging.getLogger("django_strangler.outbox.relay")

UNREADY_PAUSE = 0.1
FAREWELL = 1.5  # Seconds to wait for confirms when asked to stop.
DATABASE_PAUSE = 5.0  # The longest between two attempts to reach the database.


class Relay:
    """Drains one database's outbox into a broker, in the lanes it can get."""

    def __init__(
        self,
        alias: str | None = None,
        *,
        broker: Broker | None = None,
        settings: conf.Settings | None = None,
        steady: bool = True,
        stop: threading.Event | None = None,
        monotonic: Callable[[], float] = since_boot,
        pace: Pace = PACE,
        limits: SendingLimits = LIMITS,
    ) -> None:
        self.settings = settings or conf.current()
        self.stop = stop or threading.Event()
        self.on_progress: Callable[[Totals], object] = lambda totals: None
        self.connection: BaseDatabaseWrapper = connections[alias or outbox_alias()]
        self.broker = broker or make_broker(self.settings)
        self.store, self.marks = Store(self.connection), Marks(self.connection)
        self.leases = Leases(
            self.connection,
            length=self.settings.relay.lease,
            steady=steady,
            monotonic=monotonic,
        )
        self.backlog = Backlog(capacity=4 * self.settings.relay.batch_size)
        self.held = Held()
        self.listener = Listener(self.connection, self.stop, self.settings)
        self._work = work = Work(
            backlog=self.backlog,
            held=self.held,
            store=self.store,
            leases=self.leases,
            broker=self.broker,
            settings=self.settings,
            stop=self.stop,
            clock=monotonic,
        )
        self._reading = Reading(work, pace)
        self._sending = Sending(work, limits)
        self._probing = Probing(work, self._sending)
        self._settling = Settling(work, self.marks)
        self._monotonic = monotonic
        self._prepared: object = None  # The driver's connection that was set up.
        self._database_error: Exception | None = None
        self._fields = {"relay": self.leases.name}
        self._announcer = Announcer(logger, monotonic=monotonic)

    @property
    def totals(self) -> Totals:
        """What was done since the start."""
        return self._settling.totals

    # Doors

    def run(self) -> None:
        """Drain until asked to stop, sleeping only while nothing is pending."""
        with self._at_work():
            while not self.stop.is_set():
                self._guarded(self._turn)

    def drain(self, *, patience: float = 10.0) -> Totals:
        """
        Relay until nothing is due in the lanes that nobody else holds.

        Raises ``BrokerUnreachable`` when the broker could not be used for ``patience``
        seconds. What is held for a later attempt is not waited for. What is published
        meanwhile, by subscribers for instance, is relayed as well, for half a minute.
        """
        self._reading.poll_no_more()
        with self._at_work():
            self._drain(patience)
        return self.totals

    def _drain(self, patience: float) -> None:
        draining = Draining(self._work, self._reading, self._sending, patience)
        while not self.stop.is_set():
            self._guarded(self.step)
            has_caught_up = self._database_error is None and draining.has_caught_up
            if has_caught_up and not draining.go_on():
                return
            if (idle := draining.idle_beyond_patience(self.totals)) > 0:
                raise self._database_error or BrokerUnreachable(
                    f"No event got through for {idle:.0f} s: "
                    f"{self.broker.trouble or 'the broker took none'}. "
                    "Events stay in the outbox."
                )
            if self.backlog.is_empty:
                self.stop.wait(READ_PAUSE)

    # The loop

    def _turn(self) -> None:
        if not self.step():
            self._rest()
        elif not self._reading.is_awake:
            # What is under way may be so for long.
            self._listen(0)

    def step(self) -> bool:
        """Do what can be done now; False when there was nothing."""
        self._prepare()
        self._keep_lanes()
        self._report_broker()
        busy = self._settling.settle(self.broker.outcomes(0))
        busy |= self._settling.mark()
        for rows in self._sending.overdue():
            self._settling.give_up_waiting(rows)
        self.on_progress(self.totals)
        if self.leases.leaving:
            self._hand_over()
        if not self.leases.is_valid:
            self.backlog.forget_unsent()
            return busy
        if not self.broker.ready:
            # Read again in order once it is back.
            self.backlog.forget_unsent()
            self._settling.settle(self.broker.outcomes(UNREADY_PAUSE))
            return True
        busy |= self._probing.probe()
        busy |= self._reading.read()
        busy |= self._sending.send()
        # While the broker works, wait for it, but not beyond what else is to be done.
        if self.backlog.sent and self._settling.settle(
            self.broker.outcomes(READ_PAUSE)
        ):
            # The next of a key that waited for its confirm goes at once.
            self._sending.send()
        elif not self.backlog.is_empty and (pause := self._sending.pause):
            self.stop.wait(min(pause, UNREADY_PAUSE))
        return busy or not self.backlog.is_empty

    def _prepare(self) -> None:
        if self.connection.connection is None:
            self.connection.ensure_connection()
        if self._prepared is not self.connection.connection:
            self.marks.prepare()
            self._prepared = self.connection.connection

    def _keep_lanes(self) -> None:
        leaving = self.leases.leaving
        change = self.leases.keep()
        if change.lost:
            self.backlog.forget_lanes(change.lost)
            self._settling.forget_misses()
        if change.gained or leaving - self.leases.leaving:
            self._reading.look_again()
        if self.leases.seen is not None:
            self._take(self.leases.seen)
            self.leases.seen = None
        if self.held.changes:
            opened = Change.OPENED in self.held.changes.values()
            held_rows.write(self.held, self._monotonic(), using=self.connection.alias)
            if opened:
                self._reading.look_again()

    def _take(self, seen: LeftOut) -> None:
        """Hold what other relays hold, and what people have paused."""
        held = self.held
        before = held.types, held.keys, held.everything
        opened = held.take(seen.types, self._monotonic())
        resumed = held.pause(seen.paused_types, seen.paused_keys, seen.everything)
        if before != (held.types, held.keys, held.everything):
            self.backlog.drop_types(held.types)
            self.backlog.drop_keys(held.keys)
            if held.everything:
                self.backlog.forget_unsent()
        if opened or resumed:
            self._reading.look_again()

    # Coming and going

    def _hand_over(self) -> None:
        """Give lanes to a relay that has joined, once nothing of them is under way."""
        leaving = self.leases.leaving
        self.backlog.forget_lanes(leaving)
        if not self.backlog.is_under_way(leaving):
            self.leases.give_back(leaving)

    def _rest(self) -> None:
        pause = self.leases.seconds_at_rest
        if self.leases.lanes - self.leases.leaving:
            pause = min(pause, self._reading.pause)
        if self.backlog.held_until is not None:
            pause = min(pause, self.backlog.held_until - self._monotonic())
        self._listen(max(pause, READ_PAUSE))

    def _listen(self, seconds: float) -> None:
        lanes = self.leases.lanes - self.leases.leaving
        if self.listener.wait(seconds, lanes):
            self._reading.wake()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        if self.connection.in_atomic_block and not a_test_never_commits(
            self.connection
        ):
            raise InsideTransaction(
                "A relay was started inside transaction.atomic(): it would send what "
                "is not committed, and mark what may be rolled back. Start it outside."
            )
        with tracing.untraced():
            self.broker.open()
            try:
                yield
            finally:
                self._leave()

    def _leave(self) -> None:
        """Wait a moment for confirms, mark them, give the lanes back."""
        try:
            self._wait_for_confirms()
            self._settling.mark(at_once=True)
            held_rows.write(self.held, self._monotonic(), using=self.connection.alias)
            self.leases.leave()
            self.listener.close()
        except Error as error:
            if self.connection.in_atomic_block:
                raise
            logger.warning(
                "The database %r failed while the relay stopped; its lanes come free "
                "in %g s: %s",
                self.connection.alias,
                self.settings.relay.lease,
                error,
                extra=self._fields,
            )
        finally:
            self.broker.close()
            if not self.connection.in_atomic_block:
                # It was set up for a relay; whoever comes next gets a new one.
                self.connection.close()

    def _wait_for_confirms(self) -> None:
        deadline = self._monotonic() + FAREWELL
        while self.backlog.sent and (left := deadline - self._monotonic()) > 0:
            self._settling.settle(self.broker.outcomes(min(left, 0.1)))

    # Trouble

    def _guarded(self, work: Callable[[], object]) -> None:
        """A database that fails is waited for."""
        try:
            work()
        except Error as error:
            if self.connection.in_atomic_block:
                raise
            self._database_failed(error)
        else:
            self._database_error = None
            self._announcer.over(
                "database",
                "The database %r is back",
                self.connection.alias,
                calm=CALM,
                extra=self._fields,
            )

    def _database_failed(self, error: Exception) -> None:
        self._database_error = error
        count = self._announcer.once(
            "database",
            "The database %r failed; the relay waits for it and loses nothing: %s",
            self.connection.alias,
            error,
            extra=self._fields,
        )
        # Whatever was being done with them: they are read again.
        self.backlog.forget_unsent()
        if not is_transient(error):
            self.connection.close()
        self.stop.wait(backoff(count, first=0.05, most=DATABASE_PAUSE))

    def _report_broker(self) -> None:
        if trouble := self.broker.trouble:
            self._announcer.once(
                "broker",
                "Events wait in the outbox: %s",
                trouble,
                after=1.0,  # To connect takes a moment.
                extra=self._fields,
            )
        else:
            self._announcer.over(
                "broker",
                "The broker takes events again",
                calm=CALM,
                extra=self._fields,
            )


def drain_once(alias: str | None = None) -> int:
    """
    Relay what is due in the lanes that no relay holds; says how many were confirmed.

    For tasks, of which many overlap: one that finds no lane free ends at once.
    """
    alias = alias or outbox_alias()
    # A worker must not hang with a database that is silent.
    with own_connection(connections[alias]):
        return Relay(alias, steady=False).drain().confirmed
