"""The queue of dead letters, read and settled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pika

from django_strangler import tracing
from django_strangler.brokers.base import DeadLetterQueue, Delivery
from django_strangler.conf import Settings
from django_strangler.exceptions import BrokerError, BrokerUnreachable

from . import copies
from .declare import copies_name, dead_name, find_exchange
from .deliveries import delivery_of
from .explain import explain, quieten_pika
from .lenient import LenientConnection
from .urls import parse_nodes

# RabbitMQ counts how often a message was looked at and put back, and by default drops
# it at 20. A copy starts at none.
LOOKED_AT_MOST = 5


class RabbitMQDeadLetters(DeadLetterQueue):
    """
    Reads by getting, and leaves what it got unacknowledged, so that it goes back.

    Copies are confirmed by a queue before their originals are acknowledged.
    """

    def __init__(self, urls: Sequence[str], settings: Settings, name: str) -> None:
        super().__init__(urls, settings, name)
        self._dead = dead_name(name)
        quieten_pika()
        self._connection = _connect(self.urls)
        copies = copies_name(name)
        with _explained():
            # A queue of another program has no such exchange; the default one has all.
            is_missing = find_exchange(self._connection, copies)[0]
            self._exchange = "" if is_missing else copies
            self._channel = self._connection.channel()
            self._channel.confirm_delivery()
        self._settled = 0  # The last tag that was.
        self._held = 0  # How many were got and not settled.

    @classmethod
    def counts(
        cls, urls: Sequence[str], settings: Settings, names: Sequence[str]
    ) -> dict[str, int]:
        quieten_pika()
        connection, found = _connect(urls), {}
        with _explained(), _left(connection):
            for name in names:
                try:
                    queue = connection.channel().queue_declare(
                        dead_name(name), passive=True
                    )
                except pika.exceptions.ChannelClosedByBroker:
                    continue  # There is no such queue, or it may not be looked at.
                found[name] = int(queue.method.message_count)
        return found

    def read(self) -> Iterator[Delivery]:
        with _explained():
            try:
                yield from self._read()
            except pika.exceptions.ChannelClosedByBroker as error:
                raise BrokerError(
                    f"The queue {self._dead!r} cannot be read: {error.reply_text}."
                ) from error

    def _read(self) -> Iterator[Delivery]:
        found = self._channel.queue_declare(self._dead, passive=True)
        for _ in range(found.method.message_count):
            method, properties, body = self._channel.basic_get(self._dead)
            if method is None:
                return
            self._held += 1
            is_copy = self._is_copy(method, properties.headers)
            delivery = delivery_of(1, method, properties, body, is_copy=is_copy)
            yield delivery
            looked = delivery.headers.get("x-delivery-count", 0)
            if type(looked) is not int:
                continue
            if looked >= LOOKED_AT_MOST and self._settled != delivery.tag:
                self._send(delivery, self._dead, copies.properties(delivery, {}))

    def _is_copy(self, method: Any, headers: Any) -> bool:
        """Whether a consumer has put it there; otherwise RabbitMQ itself did."""
        if method.exchange:
            return bool(method.routing_key == self._dead)
        # By the default exchange, as earlier releases did: RabbitMQ notes what it does.
        deaths = (headers or {}).get("x-death")
        from_work = isinstance(deaths, list) and any(
            isinstance(each, dict) and each.get("queue") == self.name for each in deaths
        )
        return not from_work

    def requeue(self, delivery: Delivery) -> None:
        properties = copies.properties(delivery, {}, without=("strangler-failed-",))
        with _explained():
            self._send(delivery, self.name, properties)

    def discard(self, delivery: Delivery) -> None:
        with _explained():
            self._acknowledge(delivery)

    def close(self) -> None:
        # One that was lost meanwhile has given back everything.
        with suppress(pika.exceptions.AMQPError), _left(self._connection):
            if self._held and self._channel.is_open:
                self._give_back()

    def _give_back(self) -> None:
        """The next look is to find them, so it is waited for a moment."""
        self._channel.basic_nack(0, multiple=True, requeue=True)
        for _ in range(50):
            found = self._channel.queue_declare(self._dead, passive=True)
            if found.method.message_count >= self._held:
                return
            self._connection.sleep(0.02)

    def _send(self, delivery: Delivery, queue: str, properties: Any) -> None:
        try:
            with tracing.untraced():  # Or an instrumentation replaces its trace.
                self._channel.basic_publish(
                    self._exchange, queue, delivery.body, properties, mandatory=True
                )
        except pika.exceptions.UnroutableError as error:
            raise BrokerError(
                f"There is no queue {queue!r}: nothing was moved there."
            ) from error
        except pika.exceptions.NackError as error:
            raise BrokerError(
                f"The queue {queue!r} refused a message, which stays where it is."
            ) from error
        self._acknowledge(delivery)

    def _acknowledge(self, delivery: Delivery) -> None:
        self._channel.basic_ack(delivery.tag)
        self._settled = delivery.tag
        self._held -= 1


@contextmanager
def _left(connection: Any) -> Iterator[None]:
    """Close it; that it is lost already is said by what failed on it."""
    try:
        yield
    finally:
        with suppress(pika.exceptions.AMQPError):
            connection.close()


@contextmanager
def _explained() -> Iterator[None]:
    """What else pika raises in here, is that the connection was lost."""
    try:
        yield
    except pika.exceptions.AMQPError as error:
        raise BrokerError(f"RabbitMQ's connection was lost: {error}.") from error


def _connect(urls: Sequence[str]) -> Any:
    for node in parse_nodes(urls):
        try:
            return pika.BlockingConnection(
                node.parameters, _impl_class=LenientConnection
            )
        except (pika.exceptions.AMQPError, OSError) as error:
            what, todo = explain(error, node)
    raise BrokerUnreachable(f"{what}. {todo}".strip())
