"""
``local://``: calls this process's own subscribers, without any server.

An event is confirmed once each subscriber that it is for has its inbox row, so a retry
calls only those that have none.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence

from django.db import close_old_connections, connections

from django_strangler import tracing
from django_strangler.brokers.base import Broker, Kind, Outcome, Outgoing
from django_strangler.conf import Settings
from django_strangler.logs import Sieve, fields

from .decoding import decode
from .failures import shown
from .handling import DatabaseGone, handle, inbox_alias
from .subscribers import Subscriber, registry

logger = logging.getLogger("django_strangler.inbox.local")

THREADS = 8
THREADS_PER_TYPE = 6  # A slow subscriber of one type leaves some to the others.


class LocalBroker(Broker):
    """
    Calls subscribers in a few threads, or in the caller's.

    SQLite has one writer, and a test's transaction one connection: there the relay's
    own thread calls them, one after the other.
    """

    system = "local"

    def __init__(self, urls: Sequence[str], settings: Settings) -> None:
        super().__init__(urls, settings)
        self.on_error: Callable[[Subscriber, BaseException, Outgoing], object] = (
            self._log_error
        )
        self._sieve = Sieve()
        self._changed = threading.Condition()
        self._waiting: deque[Outgoing] = deque()
        self._outcomes: list[Outcome] = []
        self._running: Counter[str] = Counter()  # Events by type.
        self._threads: list[threading.Thread] = []
        self._work: queue.SimpleQueue[Outgoing | None] = queue.SimpleQueue()
        self._is_open = False

    def open(self) -> None:
        """Find the subscribers, and start threads where the database allows them."""
        self._is_open = True
        registry.all()
        connection = connections[inbox_alias()]
        if connection.vendor == "sqlite" or connection.in_atomic_block:
            return
        self._threads = [
            threading.Thread(target=self._run, name=f"strangler-local-{n}", daemon=True)
            for n in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop taking events; a subscriber that is busy is not waited for long."""
        with self._changed:
            self._is_open = False
            self._waiting.clear()
            self._outcomes.clear()
            self._changed.notify_all()
        deadline = time.monotonic() + 1.0
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._threads = []

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

    def send(self, events: Sequence[Outgoing]) -> None:
        """Queue them."""
        with self._changed:
            self._waiting.extend(events)
            self._start_waiting()

    def outcomes(self, timeout: float) -> list[Outcome]:
        """What became of events; without threads, this is where subscribers run."""
        if not self._threads:
            return self._work_off(timeout)
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
            taken.append(self._deliver(self._waiting.popleft()))
            if time.monotonic() >= deadline:
                break
        return taken

    def _start_waiting(self) -> None:
        """Hand to the threads what may run now."""
        if not self._threads:
            return
        passed: deque[Outgoing] = deque()
        while self._waiting and self._running.total() < THREADS:
            event = self._waiting.popleft()
            if self._running[event.type] >= THREADS_PER_TYPE:
                passed.append(event)
                continue
            self._running[event.type] += 1
            self._work.put(event)
        self._waiting.extendleft(reversed(passed))

    def _run(self) -> None:
        try:
            while (event := self._work.get()) is not None:
                outcome = self._deliver(event)
                if outcome.kind is Kind.REJECTED:
                    close_old_connections()  # Perhaps one of them is broken.
                with self._changed:
                    self._running[event.type] -= 1
                    self._outcomes.append(outcome)
                    self._start_waiting()
                    self._changed.notify_all()
        finally:
            connections.close_all()

    def _deliver(self, outgoing: Outgoing) -> Outcome:
        row = outgoing.row
        bound = registry.bound_to(outgoing.type)
        if not bound and not registry.broken_modules:
            return Outcome(row, Kind.RETURNED, "no subscriber")
        try:
            event = decode(outgoing)
        except (ValueError, RecursionError) as error:  # Somebody edited the row.
            return Outcome(row, Kind.REJECTED, f"it cannot be read: {error}", True)
        failures = []
        for subscriber in bound:
            if not subscriber.wants(outgoing.headers):
                continue
            try:
                with tracing.processing(
                    event.headers,
                    system=self.system,
                    destination=subscriber.name,
                    id=outgoing.id,
                ):
                    handle(subscriber, event)
            except DatabaseGone as error:
                _leave_connection()
                return Outcome(row, Kind.UNKNOWN, f"the database failed: {error}")
            except KeyboardInterrupt:
                raise  # Of whoever runs the relay, in whose thread this may be.
            except BaseException as error:  # noqa: BLE001  Told below.
                self.on_error(subscriber, error, outgoing)
                failures.append(shown(subscriber.name, error)[:500])
        # Nobody knows which events a module is for that cannot be imported.
        failures += [f"{name}: {why}" for name, why in registry.broken_modules.items()]
        if failures:
            return Outcome(row, Kind.REJECTED, "; ".join(failures))
        return Outcome(row, Kind.CONFIRMED)

    def _log_error(
        self, subscriber: Subscriber, error: BaseException, event: Outgoing
    ) -> None:
        more = self._sieve.passes(subscriber.name, type(error))
        if more is not None:
            logger.error(
                "The subscriber %r failed; it will be called again%s",
                subscriber.name,
                more,
                exc_info=error,
                extra=fields(event.id, event.type, event.headers, lane=event.lane),
            )


def _leave_connection() -> None:
    connection = connections[inbox_alias()]
    if not connection.in_atomic_block:  # A test's.
        connection.close()
