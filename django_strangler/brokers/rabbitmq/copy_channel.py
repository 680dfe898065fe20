"""Copies on their way to the queues for retries and for dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import pika

from .confirms import TICKS, Confirms
from .link import Link, Loop, Loss
from .urls import Node

PAUSE = 1.0  # Seconds before what a queue refused is sent again.


class Copy(NamedTuple):
    """A copy of a delivery, and which one that was."""

    session: int
    tag: int
    exchange: str
    queue: str
    properties: Any
    body: bytes

    @property
    def face(self) -> tuple[str, Any, bytes]:
        """What a return shows of it."""
        return self.queue, self.properties.message_id, self.body


class Copies:
    """
    Sends copies over a link of their own, opened when first needed.

    RabbitMQ blocks connections that publish while it is short of memory or disk. On the
    consumer's, that would block the acknowledgements which free them.
    """

    def __init__(
        self,
        loop: Loop,
        nodes: Sequence[Node],
        *,
        sent: Callable[[Copy], None],  # A queue has it.
        failed: Callable[[str], None],
        stalled: Callable[[str], None],  # Why; empty once they are confirmed again.
    ) -> None:
        self._loop, self._on_sent, self._on_failed = loop, sent, failed
        self._on_stalled, self._is_stalled = stalled, False
        self._timeout = min(node.confirm_timeout for node in nodes)
        self._link = Link(loop, nodes, up=self._up, down=self._down)
        self._channel: CopyChannel | None = None
        self._waiting: list[Copy] = []

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way."""
        unconfirmed = self._channel.unconfirmed if self._channel else ()
        return not self._waiting and not unconfirmed

    def send(self, copy: Copy) -> None:
        """Publish it; ``sent`` is called once a queue has confirmed it."""
        self._waiting.append(copy)
        self._link.open()
        self._send_waiting()

    def forget(self) -> None:
        """What is not confirmed comes again, as a delivery."""
        if self._channel is not None:
            self._channel.give_up()
        self._waiting, self._channel, self._is_stalled = [], None, False
        self._link.leave()

    def _send_waiting(self) -> None:
        if self._channel is not None and self._channel.ready:
            waiting, self._waiting = self._waiting, []
            for copy in waiting:
                self._channel.publish(copy)

    def _up(self, connection: Any) -> None:
        self._is_blocked = False
        connection.add_on_connection_blocked_callback(lambda *_: self._block(True))
        connection.add_on_connection_unblocked_callback(lambda *_: self._block(False))
        self._channel = CopyChannel(connection, self._send_waiting, self)
        self._loop.later(self._timeout / TICKS, partial(self._watch, self._channel))

    def _watch(self, channel: CopyChannel) -> None:
        """
        A queue without a majority takes copies and never confirms them.

        That is said, and waited for: to connect anew would count as a failure of every
        delivery in hand.
        """
        if channel is not self._channel:
            return
        if channel.is_late() and not self._is_stalled:
            self._is_stalled = True
            names = sorted({copy.queue for copy in channel.unconfirmed.values()})
            why = f"the queues {', '.join(names)} do not confirm copies"
            if self._is_blocked:
                why = "RabbitMQ is short of memory or disk, and takes no copies"
            self._on_stalled(why)
        self._loop.later(self._timeout / TICKS, partial(self._watch, channel))

    def _block(self, is_blocked: bool) -> None:
        self._is_blocked = is_blocked

    def _down(self, loss: Loss) -> None:
        self._channel, self._is_stalled = None, False
        self._on_failed(f"copies cannot be sent: {loss.what}")

    # The channel.

    def settled(self, copies: list[Copy], *, refused: bool) -> None:
        """The queues have these, or one refuses."""
        if self._is_stalled and not refused:
            self._is_stalled = False
            self._on_stalled("")
        for copy in copies:
            if not refused:
                self._on_sent(copy)
        if refused:
            self._waiting += copies
            self._loop.later(PAUSE, self._send_waiting)

    def lost(self, reason: str) -> None:
        """They cannot be sent."""
        self._on_failed(reason)


class CopyChannel(Confirms[Copy]):
    """Publishes through the queue's own exchange, which reaches no other's."""

    def __init__(
        self, connection: Any, ready: Callable[[], None], copies: Copies
    ) -> None:
        self._copies = copies
        self._returned: Counter[tuple[str, Any, bytes]] = Counter()
        super().__init__(connection, ready=ready, closed=self._was_closed)

    def publish(self, copy: Copy) -> None:
        """Send it next."""
        self.add(copy)
        # As the class has it: instrumentations replace the channel's own by one that
        # puts another trace into the headers.
        pika.channel.Channel.basic_publish(
            self._channel,
            copy.exchange,
            copy.queue,
            copy.body,
            copy.properties,
            mandatory=True,
        )

    def returned(self, method: Any, properties: Any, body: bytes) -> None:
        # It carries no delivery tag.
        self._returned[method.routing_key, properties.message_id, body] += 1

    def settled(self, messages: list[Copy], *, refused: bool) -> None:
        for copy in messages if self._returned else ():
            if self._returned[copy.face]:
                self._copies.lost(
                    f"the queue {copy.queue!r} does not exist, or is not bound to the "
                    f"exchange {copy.exchange!r}"
                )
                return
        self._copies.settled(messages, refused=refused)

    def _was_closed(self, _code: int, text: str, _copies: list[Copy]) -> None:
        self._copies.lost(f"copies cannot be sent: {text}")
