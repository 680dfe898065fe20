"""``amqp://`` and ``amqps://``: RabbitMQ, by pika, which nothing else imports."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence

from django_strangler.brokers.base import Broker, Kind, Outcome, Outgoing
from django_strangler.conf import Settings
from django_strangler.findings import Finding

from .dead_letters import RabbitMQDeadLetters
from .inspection import inspect
from .management import bindings
from .sender import Limits, Sender
from .source import RabbitMQSource
from .urls import parse_nodes

__all__ = ["Limits", "RabbitMQBroker"]


class RabbitMQBroker(Broker):
    """
    Hands events to a thread of its own, where pika runs, and collects their outcomes.

    Confirms are asynchronous and ``mandatory`` is always on: an event counts as
    confirmed once RabbitMQ has it in a queue at least.
    """

    system = "rabbitmq"
    source = RabbitMQSource
    dead_letters = RabbitMQDeadLetters

    def __init__(
        self, urls: Sequence[str], settings: Settings, *, limits: Limits | None = None
    ) -> None:
        super().__init__(urls, settings)
        self._nodes, self._limits = parse_nodes(self.urls), limits or Limits()
        self._sender: Sender | None = None
        self._changed = threading.Condition()
        self._reported: list[Outcome] = []
        self._turned = False

    @classmethod
    def inspect(
        cls, settings: Settings, types: Collection[str], management: str = ""
    ) -> Iterable[Finding]:
        return inspect(settings, types, management)

    @classmethod
    def bindings(
        cls, settings: Settings, management: str = ""
    ) -> Collection[tuple[str, str]]:
        node, *_others = parse_nodes(settings.broker_url)
        return bindings(node, management, settings.exchange)

    def open(self) -> None:
        if self._sender is None:
            self._sender = Sender(
                self._nodes,
                self.settings,
                self._limits,
                report=self._report,
                turn=self._turn,
            )
            self._sender.start()

    def close(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.finish(timeout=0.9)
        with self._changed:
            self._reported, self._turned = [], True
            self._changed.notify()

    @property
    def ready(self) -> bool:
        sender = self._sender
        return sender is not None and sender.is_ready

    @property
    def is_blocked(self) -> bool:
        sender = self._sender
        return sender is not None and bool(sender.blocked)

    @property
    def trouble(self) -> str:
        sender = self._sender
        return "not open" if sender is None else sender.trouble

    def send(self, events: Sequence[Outgoing], *, probe: bool = False) -> None:
        sender = self._sender
        if sender is None or not sender.is_ready:
            reason = self.trouble or "connecting"
            self._report([Outcome(each.row, Kind.UNKNOWN, reason) for each in events])
        elif events:
            sender.send(events, probe=probe)

    def outcomes(self, timeout: float) -> list[Outcome]:
        with self._changed:
            if not self._reported and not self._turned and timeout > 0:
                self._changed.wait(timeout)
            taken, self._reported, self._turned = self._reported, [], False
            return taken

    # From the sender's thread.

    def _report(self, outcomes: list[Outcome]) -> None:
        with self._changed:
            self._reported += outcomes
            self._changed.notify()

    def _turn(self) -> None:
        """It is ready, or no longer."""
        with self._changed:
            self._turned = True
            self._changed.notify()
