"""The exchange and the queues: looked for, declared if missing, and compared once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pika

from django_strangler.brokers.base import WorkQueue
from django_strangler.exceptions import BrokerError

from .link import Unusable
from .urls import Node

# Handed over so often without an answer, a message has killed its consumers: it rests.
DELIVERY_LIMIT = 20
_TYPE = "topic"


def retry_name(queue: str, delay: float) -> str:
    """Where a delivery waits for so many seconds before it comes again."""
    # By the delay, which the queue can never change: another one is another queue.
    whole = delay == int(delay)
    shown = f"{int(delay)}s" if whole else f"{round(1000 * delay)}ms"
    return f"{queue}.retry.{shown}"


def dead_name(queue: str) -> str:
    """Where dead letters rest."""
    return f"{queue}.dead"


def copies_name(queue: str) -> str:
    """The exchange for copies: it reaches the queue and those beside it, no others."""
    return f"{queue}.copies"


def given_up_key(queue: str) -> str:
    """The routing key of what RabbitMQ itself makes a dead letter."""
    return f"{queue}.given-up"


@contextmanager
def connected(node: Node) -> Iterator[Any]:
    """A short connection that waits for each answer."""
    parameters = copy.copy(node.parameters)
    # Without, it would wait for a silent node without end.
    parameters.heartbeat = parameters.heartbeat or 15
    connection = pika.BlockingConnection(parameters)
    try:
        yield connection
    finally:
        if connection.is_open:
            connection.close()


def ask(connection: Any, request: Callable[[Any], object]) -> tuple[int, str]:
    """Ask on a channel of its own, which a refusal closes: its code and text."""
    channel = connection.channel()
    try:
        request(channel)
    except pika.exceptions.ChannelClosedByBroker as error:
        return error.reply_code, error.reply_text
    channel.close()
    return 0, ""


def find_exchange(connection: Any, name: str) -> tuple[int, str]:
    """Look for it, which needs no permission, but does not show its type."""
    return ask(connection, lambda channel: channel.exchange_declare(name, passive=True))


def declare_exchange(connection: Any, name: str) -> tuple[int, str]:
    """Make it, or compare one that is there; needs the permission to configure it."""
    return ask(
        connection, lambda channel: channel.exchange_declare(name, _TYPE, durable=True)
    )


class Exchange:
    """What a relay knows about its exchange, over all its connections."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._seen = False  # From then on it is its owner's, and waited for.
        self._may_declare = True
        self._compared = False

    def look(self, node: Node) -> None:
        """Raises ``Unusable`` if no event may be sent to it."""
        with connected(node) as connection:
            code, _ = find_exchange(connection, self.name)
            if code not in (0, 404):
                return  # Who may not even look can still try to send.
            self._seen = self._seen or not code
            if code and (self._seen or not self._may_declare):
                raise self._missing()
            if self._may_declare and not self._compared:
                self._compare(*declare_exchange(connection, self.name))

    def _compare(self, code: int, text: str) -> None:
        if code == 403:
            self._may_declare = False  # Publishers may well lack that permission.
            if not self._seen:
                raise self._missing()
        elif code == 406 and "'type'" in text:
            self._seen = True
            raise Unusable(
                f"the exchange {self.name!r} is not of type {_TYPE}: {text}",
                "Name another one in STRANGLER['EXCHANGE'], or replace it.",
            )
        elif code in (0, 406):  # Other arguments are its owner's business.
            self._seen = self._compared = True
        else:
            raise Unusable(
                f"the exchange {self.name!r} cannot be declared: {text}", "Look at it."
            )

    def _missing(self) -> Unusable:
        what = f"the exchange {self.name!r} does not exist"
        if self._seen or self._may_declare:
            return Unusable(what, "Create it (durable, of type topic).")
        return Unusable(
            f"{what}, and may not be declared",
            "Create it (durable, of type topic), or give the user the permission to "
            "configure it.",
        )


def prepare(connection: Any, queue: WorkQueue, exchange: str) -> None:
    """Declare a consumer's queues, or look for them; raises ``BrokerError``."""
    _Topology(connection, queue, exchange).prepare()


class _Topology:
    def __init__(self, connection: Any, queue: WorkQueue, exchange: str) -> None:
        self._connection, self._queue, self._exchange = connection, queue, exchange

    def prepare(self) -> None:
        name, copies = self._queue.name, copies_name(self._queue.name)
        self._have_copies(copies)
        # What is dead-lettered to comes first.
        dead = dead_name(name)
        # RabbitMQ 4 drops what was looked at 20 times; RabbitMQ 3 never does, and knows
        # no "never".
        self._have(dead, {"x-delivery-limit": -1} if self._is_4 else {}, {})
        self._have(name, *self._work_arguments())
        back = _dead_lettered_to(copies, name)
        retries = {retry_name(name, delay): delay for delay in self._queue.retry_delays}
        for retry, delay in retries.items():
            self._have(retry, {**back, "x-message-ttl": round(1000 * delay)})
        if self._queue.declare:
            for queue, key in (
                *((each, each) for each in (name, dead, *retries)),
                (dead, given_up_key(name)),
            ):
                self._bind_copies(queue, copies, key)
            self._have_exchange()
            for pattern in self._queue.patterns:
                self._bind(pattern)
        for pattern in self._queue.unbind:
            self._unbind(pattern)

    @property
    def _is_4(self) -> bool:
        impl = getattr(self._connection, "_impl", self._connection)
        version = str((impl.server_properties or {}).get("version", "")).split(".")[0]
        return version.isdigit() and int(version) >= 4

    def _work_arguments(self) -> list[dict[str, Any]]:
        """As they are declared now, and as earlier releases declared them."""
        name = self._queue.name
        common: dict[str, Any] = {"x-delivery-limit": DELIVERY_LIMIT}
        if self._queue.single_active:
            common["x-single-active-consumer"] = True
        return [
            {**_dead_lettered_to(copies_name(name), given_up_key(name)), **common},
            {**_dead_lettered_to("", dead_name(name)), **common},
        ]

    def _have_copies(self, name: str) -> None:
        if self._queue.declare:
            code, text = self._do(
                lambda channel: channel.exchange_declare(name, "direct", durable=True)
            )
            if not code:
                return
        code, text = find_exchange(self._connection, name)
        if code:
            raise BrokerError(
                f"The exchange {name!r} cannot be used: {text}. Create it (durable, of "
                "type direct) with the bindings that the reference of consuming names, "
                "or let consume_events declare it, which needs the permissions to "
                "configure and to write to it."
            )

    def _bind_copies(self, queue: str, exchange: str, key: str) -> None:
        code, text = self._do(lambda channel: channel.queue_bind(queue, exchange, key))
        if code not in (0, 403):  # An administrator may have bound it.
            raise BrokerError(
                f"The queue {queue!r} cannot be bound to {exchange!r}: {text}."
            )

    def _have(self, name: str, *wanted: dict[str, Any]) -> None:
        """Declare it; the first of the arguments with which that is possible."""
        refused = ""
        if self._queue.declare:
            for arguments in wanted:
                code, text = self._do(
                    partial(
                        pika.adapters.blocking_connection.BlockingChannel.queue_declare,
                        queue=name,
                        durable=True,
                        arguments={"x-queue-type": "quorum", **arguments},
                    )
                )
                if code != 406:
                    break
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
                "configure it."
            )

    def _have_exchange(self) -> None:
        name = self._exchange
        if find_exchange(self._connection, name)[0] == 404:
            code, text = declare_exchange(self._connection, name)
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


def _dead_lettered_to(exchange: str, key: str) -> dict[str, Any]:
    return {
        "x-dead-letter-exchange": exchange,
        "x-dead-letter-routing-key": key,
        # Kept until the other queue has confirmed; needs both.
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
