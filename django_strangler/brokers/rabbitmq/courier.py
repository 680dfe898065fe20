"""Copies on their way to the queues for retries and for dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import pika

PAUSE = 1.0  # Seconds before what a queue refused is sent again.


class Copy(NamedTuple):
    """A copy of a delivery, and the delivery's tag."""

    tag: int
    queue: str
    properties: Any
    body: bytes

    @property
    def face(self) -> tuple[str, Any, bytes]:
        """What a return shows of it."""
        return self.queue, self.properties.message_id, self.body


class Courier:
    """
    Publishes with confirms, on a connection of its own, opened when first needed.

    RabbitMQ blocks connections that publish while it is short of memory or disk. On the
    consumer's, that would block the acknowledgements which free them.
    """

    def __init__(
        self,
        loop: Any,
        parameters: Any,
        *,
        sent: Callable[[int], None],
        failed: Callable[[str], None],
    ) -> None:
        self.connection: Any = None
        self._loop, self._parameters = loop, parameters
        self._on_sent, self._on_failed = sent, failed
        self._channel: Any = None
        self._waiting: list[Copy] = []
        self._unconfirmed: dict[int, Copy] = {}
        self._returned: Counter[tuple[str, Any, bytes]] = Counter()
        self._number = 0
        self._oldest = 1

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._waiting and not self._unconfirmed

    def send(self, copy: Copy) -> None:
        """Publish it; ``sent`` is called once a queue has confirmed it."""
        if self._channel is None:
            self._waiting.append(copy)
            if self.connection is None:
                self._connect()
            return
        self._number += 1
        self._unconfirmed[self._number] = copy
        # As the class has it: instrumentations replace the channel's own by one that
        # puts another trace into the headers.
        pika.channel.Channel.basic_publish(
            self._channel, "", copy.queue, copy.body, copy.properties, mandatory=True
        )

    def _connect(self) -> None:
        self.connection = pika.SelectConnection(
            self._parameters,
            on_open_callback=lambda connection: connection.channel(
                on_open_callback=self._opened
            ),
            on_open_error_callback=self._lost,
            on_close_callback=self._lost,
            custom_ioloop=self._loop,
        )

    def _opened(self, channel: Any) -> None:
        channel.add_on_close_callback(self._lost)
        channel.add_on_return_callback(self._was_returned)
        channel.confirm_delivery(
            self._confirmed, callback=lambda _frame: self._ready(channel)
        )

    def _ready(self, channel: Any) -> None:
        self._channel = channel
        self._send_waiting()

    def _send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for copy in waiting:
            self.send(copy)

    def _was_returned(
        self, _channel: object, method: Any, properties: Any, body: bytes
    ) -> None:
        # It comes before the ack, and carries no delivery tag.
        self._returned[method.routing_key, properties.message_id, body] += 1

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        tag = method.delivery_tag
        first = self._oldest if method.multiple else tag
        if method.multiple:
            self._oldest = tag + 1
        refused = isinstance(method, pika.spec.Basic.Nack)
        for number in range(first, tag + 1):
            copy = self._unconfirmed.pop(number, None)
            if copy is None:
                continue
            if self._returned and self._returned[copy.face]:
                self._on_failed(f"the queue {copy.queue!r} does not exist")
                return
            if refused:
                self._waiting.append(copy)
                self._loop.call_later(PAUSE, self._send_waiting)
            else:
                self._on_sent(copy.tag)

    def _lost(self, _connection: object, error: Any) -> None:
        self._channel = None
        self._on_failed(f"copies cannot be sent: {error}")
