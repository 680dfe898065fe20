"""``amqp://`` and ``amqps://``: RabbitMQ, by pika, which nothing else imports."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence

from django_strangler.brokers.base import Broker, Finding, Kind, Outcome, Outgoing
from django_strangler.conf import Settings

from .carrier import Carrier
from .dead_letters import RabbitMQDeadLetters
from .inspection import inspect
from .source import RabbitMQSource
from .urls import parse_nodes

__all__ = ["RabbitMQBroker"]


class RabbitMQBroker(Broker):
    """
    Hands events to a thread of its own, where pika runs, and collects their outcomes.

    Confirms are asynchronous and ``mandatory`` is always on: an event counts as
    confirmed once RabbitMQ has it in a queue at least.
    """

    system = "rabbitmq"
    source = RabbitMQSource
    dead_letters = RabbitMQDeadLetters

    def __init__(self, urls: Sequence[str], settings: Settings) -> None:
        super().__init__(urls, settings)
        self._nodes = parse_nodes(self.urls)
        self._carrier: Carrier | None = None
        self._changed = threading.Condition()
        self._reported: list[Outcome] = []
        self._turned = False
        self._ready = False
        self._trouble = "not open"

    @classmethod
    def inspect(
        cls, settings: Settings, types: Collection[str], management: str = ""
    ) -> Iterable[Finding]:
        return inspect(settings, types, management)

    def open(self) -> None:
        if self._carrier is None:
            self._trouble = ""  # None yet: it connects.
            self._carrier = Carrier(
                self._nodes, self.settings, report=self._report, turn=self._turn
            )
            self._carrier.start()

    def close(self) -> None:
        carrier, self._carrier = self._carrier, None
        if carrier is not None:
            carrier.finish(timeout=0.9)
        self._turn(False, "closed")
        with self._changed:
            self._reported = []

    @property
    def ready(self) -> bool:
        return self._ready

    @property
    def trouble(self) -> str:
        return self._trouble

    def send(self, events: Sequence[Outgoing]) -> None:
        carrier = self._carrier
        if carrier is None or not self._ready:
            trouble = self._trouble or "connecting"
            self._report([Outcome(each.row, Kind.UNKNOWN, trouble) for each in events])
        elif events:
            carrier.send(events)

    def outcomes(self, timeout: float) -> list[Outcome]:
        with self._changed:
            if not self._reported and not self._turned and timeout > 0:
                self._changed.wait(timeout)
            taken, self._reported, self._turned = self._reported, [], False
            return taken

    # From the carrier's thread.

    def _report(self, outcomes: list[Outcome]) -> None:
        with self._changed:
            self._reported += outcomes
            self._changed.notify()

    def _turn(self, ready: bool, trouble: str) -> None:
        with self._changed:
            if ready != self._ready:
                self._turned = True
                self._changed.notify()
            self._ready, self._trouble = ready, trouble
