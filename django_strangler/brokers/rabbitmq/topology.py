"""The queues of a consumer: declared and bound, or looked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pika

from django_strangler.brokers.base import WorkQueue
from django_strangler.exceptions import BrokerError

# Handed over so often without an answer, a message has killed its consumers: it rests.
DELIVERY_LIMIT = 20


def retry_name(queue: str, step: int) -> str:
    """Where a delivery waits before it comes again; steps count from 0."""
    return f"{queue}.retry.{step + 1}"


def dead_name(queue: str) -> str:
    """Where dead letters rest."""
    return f"{queue}.dead"


def prepare(connection: Any, queue: WorkQueue, exchange: str) -> None:
    """Declare what is missing, or look for it; raises ``BrokerError``."""
    _Topology(connection, queue, exchange).prepare()


def ask(connection: Any, request: Callable[[Any], object]) -> tuple[int, str]:
    """Ask on a channel of its own, which a refusal closes: its code and text."""
    channel = connection.channel()
    try:
        request(channel)
    except pika.exceptions.ChannelClosedByBroker as error:
        return error.reply_code, error.reply_text
    channel.close()
    return 0, ""


class _Topology:
    def __init__(self, connection: Any, queue: WorkQueue, exchange: str) -> None:
        self._connection, self._queue, self._exchange = connection, queue, exchange

    def prepare(self) -> None:
        name = self._queue.name
        back = _dead_lettered_to(name)
        # What is dead-lettered to comes first.
        self._have(dead_name(name), {})
        self._have(name, self._work_arguments())
        for step, delay in enumerate(self._queue.retry_delays):
            ttl = {"x-message-ttl": round(1000 * delay)}
            self._have(retry_name(name, step), {**back, **ttl})
        if self._queue.declare:
            self._have_exchange()
            for pattern in self._queue.patterns:
                self._bind(pattern)
        for pattern in self._queue.unbind:
            self._unbind(pattern)

    def _work_arguments(self) -> dict[str, Any]:
        arguments = {
            **_dead_lettered_to(dead_name(self._queue.name)),
            "x-delivery-limit": DELIVERY_LIMIT,
        }
        if self._queue.single_active:
            arguments["x-single-active-consumer"] = True
        return arguments

    def _have(self, name: str, arguments: dict[str, Any]) -> None:
        arguments = {"x-queue-type": "quorum", **arguments}
        refused = ""
        if self._queue.declare:
            code, text = self._do(
                lambda channel: channel.queue_declare(
                    name, durable=True, arguments=arguments
                )
            )
            if code == 406:
                raise BrokerError(
                    f"The queue {name!r} exists with other properties: {text}. Delete "
                    "it once it is empty, choose another name, or take it as it is "
                    "with --no-declare."
                )
            if code not in (0, 403):
                raise BrokerError(f"The queue {name!r} cannot be declared: {text}.")
            if not code:
                return
            refused = f"; nor can it be declared: {text}"
        # Whoever may not declare may still find it there.
        code, text = self._do(lambda channel: channel.queue_declare(name, passive=True))
        if code:
            raise BrokerError(
                f"The queue {name!r} cannot be used: {text}{refused}. Create it, or "
                "let consume_events declare it, which needs the permission to "
                "configure it, and to write to amq.default."
            )

    def _have_exchange(self) -> None:
        name = self._exchange
        code, _ = self._do(lambda channel: channel.exchange_declare(name, passive=True))
        if code == 404:
            code, text = self._do(
                lambda channel: channel.exchange_declare(name, "topic", durable=True)
            )
            if code:
                raise BrokerError(
                    f"The exchange {name!r} does not exist and cannot be declared: "
                    f"{text}. Create it (durable, of type topic)."
                )

    def _bind(self, pattern: str) -> None:
        name = self._queue.name
        code, text = self._do(
            lambda channel: channel.queue_bind(name, self._exchange, pattern)
        )
        if code:
            raise BrokerError(
                f"The queue {name!r} cannot be bound to {self._exchange!r} for "
                f"{pattern!r}: {text}. Bind it yourself and pass --no-declare, or give "
                "the user the permission to write to the queue and to read from the "
                "exchange."
            )

    def _unbind(self, pattern: str) -> None:
        name = self._queue.name
        self._do(lambda channel: channel.queue_unbind(name, self._exchange, pattern))

    def _do(self, request: Callable[[Any], object]) -> tuple[int, str]:
        return ask(self._connection, request)


def _dead_lettered_to(queue: str) -> dict[str, Any]:
    return {
        "x-dead-letter-exchange": "",  # The default one: straight to that queue.
        "x-dead-letter-routing-key": queue,
        # Kept until the other queue has confirmed; needs both.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
