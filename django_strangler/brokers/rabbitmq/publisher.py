"""One channel in confirm mode, and what it carries unconfirmed."""

from __future__ import annotations

import logging
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pika

from django_strangler import tracing
from django_strangler.brokers.base import Kind, Outcome, Outgoing

from . import wire

logger = logging.getLogger("django_strangler.brokers.rabbitmq")

TICKS = 4  # Per confirm timeout: how often ``overdue`` is asked.
_CHUNK = 64 * 1024  # Bytes per write: pika copies what is left of one, each time.
_ACK, _NACK = Kind.CONFIRMED, Kind.UNKNOWN


class Publisher:
    """Publishes, and matches confirms, returns and nacks to events."""

    def __init__(
        self,
        connection: Any,
        *,
        exchange: str,
        app_id: str,
        producer: tracing.Producer | None,
        ready: Callable[[], None],
        outcomes: Callable[[list[Outcome]], None],
        closed: Callable[[int, str, list[Outgoing]], None],
    ) -> None:
        self.ready = False
        self.given_up = False
        self.unconfirmed: dict[int, Outgoing] = {}
        self._connection = connection
        self._exchange, self._app_id, self._producer = exchange, app_id, producer
        self._on_ready, self._on_outcomes, self._on_closed = ready, outcomes, closed
        self._tag = 0  # The last one given.
        self._oldest = 1  # No lower one is unconfirmed.
        self._marks: deque[int] = deque(maxlen=TICKS)
        self._returned: dict[str, str] = {}
        self._spans: dict[int, tracing.Span] = {}
        self._channel = connection.channel(on_open_callback=self._opened)

    def _opened(self, channel: Any) -> None:
        if self.given_up:
            channel.close()
            return
        self._encoder = wire.Encoder(
            exchange=self._exchange,
            app_id=self._app_id,
            channel=channel.channel_number,
            frame_max=self._connection.params.frame_max,
        )
        channel.add_on_close_callback(self._closed)
        channel.add_on_return_callback(self._was_returned)
        channel.confirm_delivery(self._confirmed, callback=self._selected)

    def _selected(self, _frame: object) -> None:
        if not self.given_up:
            self.ready = True
            self._on_ready()

    def publish(self, events: Sequence[Outgoing]) -> None:
        """Send in this order; what AMQP cannot hold is rejected at once."""
        rejected: list[Outcome] = []
        pieces: list[bytes] = []
        size = 0
        for event in events:
            headers, span = self._traced(event)
            try:
                frames = self._encoder.frames(event, headers)
            except (ValueError, struct.error) as error:
                reason = f"cannot be sent by AMQP: {error}"
                rejected.append(Outcome(event.row, Kind.REJECTED, reason, True))
                tracing.end(span, "invalid")
                continue
            self._tag += 1
            self.unconfirmed[self._tag] = event
            if span is not None:
                self._spans[self._tag] = span
            if _output is None:
                self._publish_plainly(event, headers)
                continue
            pieces += frames
            size += len(frames[2]) + event.size
            if size > _CHUNK:
                _output(self._connection, [b"".join(pieces)])
                pieces, size = [], 0
        if pieces and _output is not None:
            _output(self._connection, [b"".join(pieces)])
        if rejected:
            self._on_outcomes(rejected)

    def _traced(self, event: Outgoing) -> tuple[Any, tracing.Span | None]:
        """The headers to send, with those of a new span if there is one."""
        if self._producer is not None and isinstance(event.headers, dict):
            try:
                return self._producer.start(
                    event.type,
                    event.id,
                    event.correlation_id,
                    event.headers,
                    event.published_at,
                )
            except Exception:
                # An SDK's fault, or a sampler's, is not the event's.
                logger.exception(
                    "RabbitMQ: tracing failed; on this connection, events are sent "
                    "without spans."
                )
                self._producer = None
        return event.headers, None

    def _publish_plainly(self, event: Outgoing, headers: Any) -> None:
        self._channel.basic_publish(
            self._exchange,
            event.type,
            event.body.encode(),
            wire.properties(event, headers, self._app_id),
            mandatory=True,
        )

    def overdue(self) -> bool:
        """
        Whether something has been unconfirmed for the confirm timeout.

        Asked ``TICKS`` times in that span, so that no time is kept per event.
        """
        while self._oldest <= self._tag and self._oldest not in self.unconfirmed:
            self._oldest += 1
        late = len(self._marks) == TICKS and self._oldest <= self._marks[0]
        self._marks.append(self._tag)
        return late and bool(self.unconfirmed)

    def be_patient(self) -> None:
        """Begin the confirm timeout anew."""
        self._marks.clear()

    def give_up(self, error: str = "unknown") -> list[Outgoing]:
        """Report nothing any more; returns what is unconfirmed, in order."""
        self.given_up, self.ready = True, False
        events = list(self.unconfirmed.values())
        for span in self._spans.values():
            tracing.end(span, error)
        self.unconfirmed, self._spans = {}, {}
        if self._channel.is_open:
            self._channel.close()
        return events

    def _was_returned(
        self, _channel: object, method: Any, properties: Any, _body: bytes
    ) -> None:
        # It comes before the ack, and carries no delivery tag.
        self._returned[properties.message_id] = (
            f"{method.reply_code} {method.reply_text}"
        )

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        tag: int = method.delivery_tag
        tags: Sequence[int] = (tag,)
        if method.multiple:
            tag = tag or self._tag  # 0 stands for all.
            tags = range(self._oldest, tag + 1)
            self._oldest = tag + 1
        refused = isinstance(method, pika.spec.Basic.Nack)
        kind, reason = (
            (_NACK, "nacked: a queue is full, or lost") if refused else (_ACK, "")
        )
        outcomes = []
        for each in tags:
            event = self.unconfirmed.pop(each, None)
            if event is None:
                continue
            if self._returned and event.id in self._returned:
                why = self._returned.pop(event.id)
                outcomes.append(Outcome(event.row, Kind.RETURNED, why))
            else:
                outcomes.append(Outcome(event.row, kind, reason))
            if self._spans:
                error = "nack" if refused else ""
                if outcomes[-1].kind is Kind.RETURNED:
                    error = "returned"
                tracing.end(self._spans.pop(each, None), error)
        self._on_outcomes(outcomes)

    def _closed(self, _channel: object, error: Exception) -> None:
        # The end of the connection and our own closing are told elsewhere.
        if self.given_up or not isinstance(
            error, pika.exceptions.ChannelClosedByBroker
        ):
            return
        events = self.give_up(str(error.reply_code))
        self._on_closed(error.reply_code, error.reply_text, events)


# Private in pika, there in 1.3 and 1.4, and worth a third of the speed: a whole batch
# is one write. Without it, each event takes the public way.
_output: Callable[[Any, list[bytes]], None] | None = getattr(
    pika.SelectConnection, "_output_marshaled_frames", None
)
