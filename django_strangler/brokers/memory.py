"""``memory://``: keeps events in this process, and fails on request. For tests."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from django_strangler.conf import Settings
from django_strangler.findings import Finding, Level

from .base import Broker, Cause, Kind, Outcome, Outgoing
from .patterns import matches


@dataclass(slots=True)
class _Fault:
    outcome: Outcome | None
    pattern: str
    times: int | None
    accepted: bool


class MemoryExchange:
    """
    The far side, shared by all brokers of this process that have the same URL.

    ``memory.exchange()`` gets it, ``reset()`` belongs in a fixture.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.brokers: weakref.WeakSet[MemoryBroker] = weakref.WeakSet()
        self.reset()

    def reset(self) -> None:
        """Forget everything: what was sent, queues and faults."""
        with self.changed:
            self.sent: list[Outgoing] = []  # Everything accepted, in order.
            self.probes: list[Outgoing] = []  # Sent as such, accepted or not.
            self.queues: dict[str, list[Outgoing]] = {}
            self.holding = False
            self.trouble = ""
            self.blocked = False  # Not ready, and connected all the same.
            self._bindings: list[tuple[str, str]] = []
            self._faults: list[_Fault] = []

    def bind(self, queue: str, pattern: str = "#") -> None:
        """From the first queue on, an event that fits none is returned."""
        with self.changed:
            self.queues.setdefault(queue, [])
            self._bindings.append((queue, pattern))

    def fail(
        self,
        kind: Kind | None,
        reason: str = "on request",
        *,
        pattern: str = "#",
        times: int | None = 1,
        final: bool = False,
        accepted: bool = False,
        cause: Cause = Cause.LOST,
    ) -> None:
        """
        Report this of the next events that match; of all of them if times is None.

        With no kind, no outcome ever comes. ``accepted``: the event arrives all the
        same, as when only the confirm is lost. ``cause``: why it is UNKNOWN.
        """
        outcome = kind and Outcome(0, kind, reason, final, cause)
        with self.changed:
            self._faults.append(_Fault(outcome, pattern, times, accepted))

    def mend(self, *, trouble: str = "", blocked: bool = False) -> None:
        """No more faults from now on; or, with a trouble, no broker is ready."""
        with self.changed:
            self._faults.clear()
            self.blocked = blocked
            self._set_trouble(trouble)

    def hold_outcomes(self) -> None:
        """Keep outcomes back until they are released."""
        with self.changed:
            self.holding = True

    def release_outcomes(
        self, order: Callable[[list[Outcome]], Iterable[Outcome]] = reversed
    ) -> None:
        """Report what was kept back, in any order: the last first, unless told."""
        with self.changed:
            self.holding = False
            for broker in self.brokers:
                broker._reported.extend(order(broker._held))
                broker._held = []
            self.changed.notify_all()

    def lose_connections(self, reason: str = "connection lost") -> None:
        """What has no outcome yet is reported UNKNOWN, whether accepted or not."""
        with self.changed:
            for broker in self.brokers:
                broker._reported += [
                    Outcome(row, Kind.UNKNOWN, reason)
                    for row in [*(each.row for each in broker._held), *broker._lost]
                ]
                broker._held, broker._lost = [], []
            self.changed.notify_all()

    def _set_trouble(self, trouble: str) -> None:
        self.trouble = trouble
        for broker in self.brokers:
            broker._turned = True
        self.changed.notify_all()

    def _take(self, event: Outgoing) -> Outcome | None:
        fault = self._next_fault(event)
        told = fault.outcome if fault else None
        told = told and told._replace(row=event.row)
        if fault is not None and not fault.accepted:
            return told
        if self._bindings:
            fitting = {
                q for q, pattern in self._bindings if matches(pattern, event.type)
            }
            if not fitting:
                return Outcome(event.row, Kind.RETURNED, "312 NO_ROUTE")
            for queue in fitting:
                self.queues[queue].append(event)
        self.sent.append(event)
        if fault is not None:
            return told
        return Outcome(event.row, Kind.CONFIRMED)

    def _next_fault(self, event: Outgoing) -> _Fault | None:
        for fault in self._faults:
            if matches(fault.pattern, event.type):
                if fault.times is not None:
                    fault.times -= 1
                    if not fault.times:
                        self._faults.remove(fault)
                return fault
        return None


class MemoryBroker(Broker):
    """Hands events to a ``MemoryExchange``, which confirms them at once."""

    for_development = True

    @classmethod
    def inspect(
        cls, settings: Settings, types: Collection[str], management: str = ""
    ) -> Iterable[Finding]:
        yield Finding(
            Level.TROUBLE,
            "memory:// forgets every event when the process ends",
            "Set STRANGLER['BROKER_URL'] to amqp://… or local://",
        )

    def __init__(self, urls: Sequence[str], settings: Settings) -> None:
        super().__init__(urls, settings)
        self.exchange = exchange(self.urls[0])
        self._open = False
        self._turned = False
        self._reported: list[Outcome] = []
        self._held: list[Outcome] = []
        self._lost: list[int] = []
        with self.exchange.changed:
            self.exchange.brokers.add(self)

    @property
    def sent(self) -> list[Outgoing]:
        """Everything that was accepted, in order."""
        return self.exchange.sent

    def open(self) -> None:
        self._open = True

    def close(self) -> None:
        with self.exchange.changed:
            self._open = False
            self._reported, self._held, self._lost = [], [], []
            self.exchange.changed.notify_all()

    @property
    def ready(self) -> bool:
        return self._open and not self.exchange.trouble

    @property
    def trouble(self) -> str:
        return self.exchange.trouble if self._open else "not open"

    @property
    def is_blocked(self) -> bool:
        return self._open and self.exchange.blocked

    def send(self, events: Sequence[Outgoing], *, probe: bool = False) -> None:
        far = self.exchange
        with far.changed:
            far.probes += events if probe else ()
            if not self.ready:
                self._reported += [
                    Outcome(event.row, Kind.UNKNOWN, self.trouble) for event in events
                ]
                return
            reported = self._held if far.holding else self._reported
            for event in events:
                outcome = far._take(event)
                if outcome is None:
                    self._lost.append(event.row)
                else:
                    reported.append(outcome)
            far.changed.notify_all()

    def outcomes(self, timeout: float) -> list[Outcome]:
        deadline = time.monotonic() + timeout
        with self.exchange.changed:
            while not self._reported and not self._turned and self._open:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self.exchange.changed.wait(left)
            taken, self._reported, self._turned = self._reported, [], False
            return taken


_exchanges: dict[str, MemoryExchange] = {}


def exchange(url: str = "memory://") -> MemoryExchange:
    """The far side that all brokers with this URL share."""
    return _exchanges.setdefault(url, MemoryExchange())
