"""The queue of dead letters, read and settled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pika

from django_strangler import tracing
from django_strangler.brokers.base import DeadLetterQueue, Delivery
from django_strangler.conf import Settings
from django_strangler.exceptions import BrokerError, BrokerUnreachable

from . import copies, topology
from .diary import explain, quieten_pika
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
        self._dead = topology.dead_name(name)
        quieten_pika()
        self._connection = self._connect()
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        self._settled = 0  # The last tag that was.

    def _connect(self) -> Any:
        for node in parse_nodes(self.urls):
            try:
                return pika.BlockingConnection(node.parameters)
            except (pika.exceptions.AMQPError, OSError) as error:
                what, todo = explain(error, node)
        raise BrokerUnreachable(f"{what}. {todo}")

    def read(self) -> Iterator[Delivery]:
        try:
            found = self._channel.queue_declare(self._dead, passive=True)
            for _ in range(found.method.message_count):
                method, properties, body = self._channel.basic_get(self._dead)
                if method is None:
                    return
                delivery = Delivery(
                    1,
                    method.delivery_tag,
                    method.routing_key,
                    properties.message_id,
                    properties.type,
                    properties.correlation_id,
                    properties.timestamp,
                    properties.headers or {},
                    body,
                    properties,
                )
                yield delivery
                looked = delivery.headers.get("x-delivery-count", 0)
                if looked >= LOOKED_AT_MOST and self._settled != delivery.tag:
                    self._send(delivery, self._dead, copies.properties(delivery, {}))
        except pika.exceptions.ChannelClosedByBroker as error:
            raise BrokerError(
                f"The queue {self._dead!r} cannot be read: {error.reply_text}."
            ) from error
        except pika.exceptions.AMQPError as error:
            raise BrokerError(f"RabbitMQ's connection was lost: {error}.") from error

    def requeue(self, delivery: Delivery) -> None:
        properties = copies.properties(delivery, {}, without=("strangler-failed-",))
        self._send(delivery, self.name, properties)

    def discard(self, delivery: Delivery) -> None:
        self._acknowledge(delivery)

    def close(self) -> None:
        if self._connection.is_open:
            self._connection.close()

    def _send(self, delivery: Delivery, queue: str, properties: Any) -> None:
        try:
            with tracing.untraced():  # Or an instrumentation replaces its trace.
                self._channel.basic_publish(
                    "", queue, delivery.body, properties, mandatory=True
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
