"""One connection's worth of deliveries."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import pika

from django_strangler.brokers.base import Delivery, WorkQueue

from .copy_channel import Copies, Copy
from .declare import copies_name
from .deliveries import delivery_of
from .link import Loop

SETTLE_INTERVAL = 0.004  # Under load, so many seconds' acks are sent together.
# Handed over again so often, it may be what ends consumers: it is handled alone.
SUSPECT = 2
MOST_IN_HAND = 64 * 2**20  # Bytes of bodies that are not acknowledged.


class Rejection(NamedTuple):
    """RabbitMQ itself is to make this delivery a dead letter."""

    tag: int


class Session:
    """
    Hands over what a connection delivers, and acknowledges what was decided about.

    What was not acknowledged when the connection ends, RabbitMQ delivers again, and
    counts that, for the message that ended it as for its neighbours. So a session
    begins with one delivery at a time, until one comes that is delivered for the first
    time: what was in hand when the last one ended stands before that in the queue.
    """

    def __init__(
        self,
        number: int,
        loop: Loop,
        connection: Any,
        queue: WorkQueue,
        copies: Copies,
        *,
        deliver: Callable[[Delivery], None],
        ready: Callable[[], None],
        failed: Callable[[str], None],
        prefetch: int,
    ) -> None:
        self.number = number
        self._loop, self._queue, self._copies = loop, queue, copies
        self._deliver, self._on_ready, self._on_failed = deliver, ready, failed
        self._for_copies = "", copies_name(queue.name)  # Exchanges.
        self._prefetch, self._is_careful = prefetch, prefetch > 1
        self._in_hand = 0  # Deliveries that are handed over and not settled.
        self._held: deque[Delivery] = deque()  # A suspect, and what came behind it.
        self._is_alone = False  # Whether a suspect is at work.
        self._is_over = self._is_cancelled = False
        self._server = connection.params.host, connection.params.port
        self._channel: Any = None
        self._consumers = 0
        self._consumer_tag = ""
        self._decided: deque[int | Rejection | Copy] = deque()
        self._is_awake = False  # ``_settle`` looks at what was decided, soon.
        self._lowest = 1  # All tags below are acknowledged.
        self._acknowledged: set[int] = set()  # Tags above.
        self._on_idle: Callable[[], None] | None = None
        connection.channel(on_open_callback=self._opened)

    # From any thread.

    def decide(self, decided: int | Rejection | Copy) -> None:
        """Acknowledge or refuse it, or acknowledge once a copy of it is confirmed."""
        self._decided.append(decided)
        if not self._is_awake:
            self._is_awake = True
            self._loop.call(self._settle)

    # On the loop's thread.

    def cancel(self) -> None:
        """Take no more deliveries."""
        self._is_cancelled = True
        if self._channel is not None and self._channel.is_open and self._consumer_tag:
            self._channel.basic_cancel(self._consumer_tag)

    def finish(self, idle: Callable[[], None]) -> None:
        """Call that once everything that was decided is done."""
        self._on_idle = idle
        self._settle()

    def copied(self, tag: int) -> None:
        """A queue has the copy."""
        self._acknowledge([tag])
        self._finish_if_idle()

    def _opened(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._closed)
        channel.add_on_cancel_callback(
            # From RabbitMQ 4.3 on, also when the consumer's timeout is over.
            lambda _frame: self._on_failed(
                f"the queue {self._queue.name!r} was deleted, or a delivery was not "
                "acknowledged within RabbitMQ's consumer timeout"
            )
        )
        self._start()

    def _start(self) -> None:
        if self._is_cancelled or not self._channel.is_open:
            return
        prefetch = 1 if self._is_careful else self._prefetch
        self._channel.basic_qos(prefetch_count=prefetch, callback=self._consume)

    def _closed(self, _channel: object, error: BaseException) -> None:
        # The end of the connection is told elsewhere.
        if isinstance(error, pika.exceptions.ChannelClosedByBroker):
            self._on_failed(f"RabbitMQ closed the channel: {error.reply_text}")

    def _consume(self, _frame: object) -> None:
        # RabbitMQ before 4 takes back what a lost connection had in hand one consumer
        # after the other, by their tags. pika makes up tags at random: what the second
        # has would come again before what the first one still has.
        self._consumers += 1
        self._consumer_tag = f"strangler-{self._consumers}"
        # As the class has it: instrumentations replace the channel's own by one that
        # fails for headers of the wrong type, and knows nothing of our threads.
        pika.channel.Channel.basic_consume(
            self._channel,
            self._queue.name,
            on_message_callback=self._delivered,
            consumer_tag=self._consumer_tag,
            callback=self._consuming,
        )

    def _consuming(self, _frame: object) -> None:
        self._on_ready()

    def _delivered(
        self, _channel: object, method: Any, properties: Any, body: bytes
    ) -> None:
        delivery = delivery_of(
            self.number,
            method,
            properties,
            body,
            is_copy=method.exchange in self._for_copies,
            server=self._server,
        )
        if self._is_careful:
            if not delivery.headers.get("x-delivery-count"):
                self._is_over = True  # What was in hand before has been seen.
            self._hand_over(delivery)
            if not self._queue.single_active:
                self._be_bold()
        elif self._held or _is_suspect(delivery):
            self._held.append(delivery)
            self._hand_over_held()
        else:
            self._hand_over(delivery)

    def _be_bold(self) -> None:
        """Take as many as is allowed, from now on."""
        if self._is_careful and self._is_over and not self._is_cancelled:
            self._is_careful = False
            # A prefetch count holds for the consumers that come after it.
            self._channel.basic_cancel(
                self._consumer_tag, callback=lambda _frame: self._start()
            )

    def _hand_over(self, delivery: Delivery) -> None:
        self._in_hand += 1
        self._deliver(delivery)

    def _hand_over_held(self) -> None:
        """The suspect once nothing else is at work, and then what came behind it."""
        while self._held and not self._is_alone:
            if _is_suspect(self._held[0]):
                if self._in_hand:
                    return
                self._is_alone = True
            self._hand_over(self._held.popleft())

    # What was decided.

    def _settle(self) -> None:
        if not self._decided:
            self._is_awake = False
            # Decided just now, by a thread that still saw us awake.
            if not self._decided:
                self._finish_if_idle()
                return
            self._is_awake = True
        tags: list[int] = []
        while self._decided:
            decided = self._decided.popleft()
            if isinstance(decided, int):
                tags.append(decided)
            elif isinstance(decided, Rejection):
                self._refuse(decided.tag)
            else:
                self._copies.send(decided)
        self._acknowledge(tags)
        self._loop.later(SETTLE_INTERVAL, self._settle)

    def _finish_if_idle(self) -> None:
        if self._on_idle and not self._decided and self._copies.is_idle:
            self._on_idle()

    def _acknowledge(self, tags: list[int]) -> None:
        """One ack for all up to the first that is still at work, one for each above."""
        channel = self._channel
        if channel is None or not channel.is_open:
            return
        self._before_settling(len(tags))
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
        self._settled(len(tags))

    def _refuse(self, tag: int) -> None:
        if self._channel is not None and self._channel.is_open:
            self._before_settling(1)
            self._channel.basic_reject(tag, requeue=False)
            self._acknowledged.add(tag)  # No ack for it any more.
            self._settled(1)

    def _before_settling(self, count: int) -> None:
        # Before the acknowledgement: RabbitMQ answers that by the next delivery, and
        # the consumer that is active from now on would be given the one behind it.
        if self._queue.single_active and count == self._in_hand:
            self._be_bold()

    def _settled(self, count: int) -> None:
        self._in_hand -= count
        if not self._in_hand:
            self._is_alone = False
        if self._held:
            self._hand_over_held()


def _is_suspect(delivery: Delivery) -> bool:
    count = delivery.headers.get("x-delivery-count")
    return type(count) is int and count >= SUSPECT
