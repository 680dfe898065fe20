"""One connection's worth of deliveries."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop

from django_strangler.brokers.base import Delivery, WorkQueue

from .courier import Copy, Courier

SETTLE_INTERVAL = 0.004  # Under load, so many seconds' acks are sent together.
CAREFUL_DELIVERIES = 20  # One at a time; then the usual way again.
FAREWELL = 1.0  # How long an end in good order may take.


class Session:
    """
    A connection that delivers, and one for copies; when either ends, both do.

    What was not acknowledged by then, the broker delivers again.
    """

    def __init__(
        self,
        number: int,
        parameters: Any,
        queue: WorkQueue,
        *,
        deliver: Callable[[Delivery], None],
        ready: Callable[[], None],
        careful: bool = False,  # One delivery at a time, and soon another session.
    ) -> None:
        self.delivered = 0
        self.was_ready = False
        self.number = number
        self.error: BaseException | None = None  # Why it ended.
        self.reason = ""
        self._queue, self._deliver, self._on_ready = queue, deliver, ready
        self._careful = careful
        self._loop = IOLoop()
        self._courier = Courier(
            self._loop, parameters, sent=self._done_now, failed=self._fail
        )
        self._parameters = parameters
        self._server = parameters.host, parameters.port
        self._connection: Any = None
        self._channel: Any = None
        self._consumer_tag = ""
        self._decided: deque[int | Copy] = deque()
        self._is_awake = False  # Somebody looks at what was decided, soon.
        self._lowest = 1  # All tags below are acknowledged.
        self._acknowledged: set[int] = set()  # Tags above.
        self._ending = False
        self._finishing = False

    # From any thread.

    def done(self, tag: int) -> None:
        """Acknowledge it."""
        self._decided.append(tag)
        self._wake()

    def move(self, copy: Copy) -> None:
        """Send the copy; once that is confirmed, acknowledge the delivery."""
        self._decided.append(copy)
        self._wake()

    def pause(self) -> None:
        """Take no more deliveries."""
        self._call(self._cancel)

    def finish(self) -> None:
        """End once everything that was decided is done."""
        self._finishing = True
        self._call(self._settle)

    def abort(self) -> None:
        """End now."""
        self._call(lambda: self._fail("given up"))

    def _wake(self) -> None:
        if not self._is_awake:
            self._is_awake = True
            self._call(self._settle)

    def _call(self, callback: Callable[[], None]) -> None:
        self._loop.add_callback_threadsafe(callback)

    # The thread.

    def run(self) -> None:
        """Deliver until the connection ends."""
        self._connection = pika.SelectConnection(
            self._parameters,
            on_open_callback=lambda connection: connection.channel(
                on_open_callback=self._opened
            ),
            on_open_error_callback=self._lost,
            on_close_callback=self._lost,
            custom_ioloop=self._loop,
        )
        try:
            self._loop.start()
        finally:
            for connection in (self._connection, self._courier.connection):
                drop(connection)
            self._loop.call_later(0, self._loop.stop)
            self._loop.start()  # So that pika closes the sockets.
            self._loop.close()

    def _opened(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._lost)
        channel.add_on_cancel_callback(
            lambda _frame: self._fail(f"the queue {self._queue.name!r} was deleted")
        )
        prefetch = 1 if self._careful else self._queue.prefetch
        channel.basic_qos(prefetch_count=prefetch, callback=self._consume)

    def _consume(self, _frame: object) -> None:
        # As the class has it: instrumentations replace the channel's own by one that
        # fails for headers of the wrong type, and knows nothing of our threads.
        self._consumer_tag = pika.channel.Channel.basic_consume(
            self._channel,
            self._queue.name,
            on_message_callback=self._delivered,
            callback=self._consuming,
        )

    def _consuming(self, _frame: object) -> None:
        self.was_ready = True
        self._on_ready()

    def _delivered(
        self, _channel: object, method: Any, properties: Any, body: bytes
    ) -> None:
        self.delivered += 1
        self._deliver(
            Delivery(
                self.number,
                method.delivery_tag,
                method.routing_key,
                properties.message_id,
                properties.type,
                properties.correlation_id,
                properties.timestamp,
                properties.headers or {},
                body,
                properties,
                self._server,
            )
        )

    def _cancel(self) -> None:
        if self._channel is not None and self._channel.is_open and self._consumer_tag:
            self._channel.basic_cancel(self._consumer_tag)

    # What was decided.

    def _settle(self) -> None:
        if self._ending:
            return
        if not self._decided:
            self._is_awake = False
            # Decided just now, by somebody who still saw us awake.
            if not self._decided:
                self._finish_if_idle()
                return
            self._is_awake = True
        tags: list[int] = []
        while self._decided:
            decided = self._decided.popleft()
            if isinstance(decided, int):
                tags.append(decided)
            else:
                self._courier.send(decided)
        self._acknowledge(tags)
        self._be_bold_again()
        self._loop.call_later(SETTLE_INTERVAL, self._settle)

    def _done_now(self, tag: int) -> None:
        self._acknowledge([tag])
        self._finish_if_idle()

    def _be_bold_again(self) -> None:
        if self._careful and self._lowest > CAREFUL_DELIVERIES:
            self._fail("all is well")

    def _acknowledge(self, tags: list[int]) -> None:
        """One ack for all up to the first that is still at work, one for each above."""
        channel = self._channel
        if channel is None or not channel.is_open:
            return
        new, up_to = set(tags), 0
        while self._lowest in new or self._lowest in self._acknowledged:
            if self._lowest in new:
                up_to = self._lowest  # RabbitMQ wants one that it still knows.
            self._acknowledged.discard(self._lowest)
            self._lowest += 1
        if up_to:
            channel.basic_ack(up_to, multiple=True)
        for tag in tags:
            if tag > self._lowest:
                channel.basic_ack(tag)
                self._acknowledged.add(tag)

    # The end.

    def _finish_if_idle(self) -> None:
        if self._finishing and not self._decided and self._courier.is_idle:
            self._fail("closed")

    def _lost(self, _connection: object, error: Any) -> None:
        if not self._ending:
            self.error = error
            self._fail(str(error))

    def _fail(self, reason: str) -> None:
        if self._ending:
            if all(each is None or each.is_closed for each in self._both):
                self._loop.stop()
            return
        self._ending = True
        self.reason = reason
        for connection in self._both:
            if connection is not None and connection.is_open:
                connection.close()
        if all(each is None or each.is_closed for each in self._both):
            self._loop.stop()
        else:
            self._loop.call_later(FAREWELL, self._loop.stop)

    @property
    def _both(self) -> tuple[Any, Any]:
        return self._connection, self._courier.connection


def drop(connection: Any) -> None:
    """Leave it without waiting for anybody."""
    if connection is None or connection.is_closed:
        return
    terminate = getattr(connection, "_terminate_stream", None)
    if terminate is not None:
        # pika's close() would wait for a silent broker's answers.
        terminate(pika.exceptions.StreamLostError("given up"))
