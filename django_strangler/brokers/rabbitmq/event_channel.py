"""Events on a channel: their frames, their spans, and their outcomes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import pika

from django_strangler import tracing
from django_strangler.brokers.base import Cause, Kind, Outcome, Outgoing

from . import wire
from .cloudevents import with_attributes
from .confirms import Confirms
from .explain import logger

_CHUNK = 64 * 1024  # Bytes per write: pika copies what is left of one, each time.
_CONFIRMED = Kind.CONFIRMED
REFUSED = "A queue refused the event (basic.nack): it is full, or has no majority."
# Private in pika, there in 1.3 and 1.4, and worth a third of the speed: a whole batch
# is one write. Without it, each event takes the public way.
_write: Callable[[Any, list[bytes]], None] | None = getattr(
    pika.SelectConnection, "_output_marshaled_frames", None
)


class ChannelUser(Protocol):
    """Who sends over a channel, and is told what comes of it."""

    def opened(self, channel: EventChannel) -> None:
        """Events can be published now."""

    def ended(
        self,
        channel: EventChannel,
        events: list[Outgoing],
        outcomes: list[Outcome],
    ) -> None:
        """These have their outcomes, in the same order."""

    def closed(
        self, channel: EventChannel, code: int, text: str, events: list[Outgoing]
    ) -> None:
        """RabbitMQ closed it, with these unconfirmed."""


class EventChannel(Confirms[Outgoing]):
    """Publishes events, ``mandatory``, and says what became of each."""

    def __init__(
        self,
        connection: Any,
        *,
        exchange: str,
        app_id: str,
        user_id: str,
        cloudevents: str,  # The dialect, or nothing.
        producer: tracing.Producer | None,
        fast: bool,  # By pika's private face, if it has one.
        user: ChannelUser,
    ) -> None:
        super().__init__(
            connection,
            ready=lambda: user.opened(self),
            closed=lambda *told: user.closed(self, *told),
        )
        self._connection = connection
        self._exchange, self._app_id, self._producer = exchange, app_id, producer
        self._user_id, self._cloudevents = user_id, cloudevents
        self._write = _write if fast else None
        self._user = user
        self._returned: dict[str, str] = {}  # By the event's id.
        self._spans: dict[int, tracing.Span] = {}  # By the event's row.

    def _opened(self, channel: Any) -> None:
        self._encoder = wire.Encoder(
            exchange=self._exchange,
            app_id=self._app_id,
            user_id=self._user_id,
            channel=channel.channel_number,
            frame_max=self._connection.params.frame_max,
        )
        super()._opened(channel)

    def publish(self, events: Sequence[Outgoing]) -> None:
        """Send in this order; what AMQP cannot hold is rejected at once."""
        rejected: list[tuple[Outgoing, Outcome]] = []
        pieces: list[bytes] = []
        size = 0
        write = self._write
        for event in events:
            headers, span = self._traced(event)
            if self._cloudevents and isinstance(headers, dict):
                headers = with_attributes(
                    event, headers, self._app_id, self._cloudevents
                )
            try:
                frames = self._encoder.frames(event, headers)
            except (ValueError, struct.error) as error:
                reason = f"AMQP cannot hold the event: {error}."
                outcome = Outcome(event.row, Kind.REJECTED, reason, True)
                rejected.append((event, outcome))
                tracing.end(span, "invalid")
                continue
            self._tag += 1  # As ``add`` does, which would cost a call for each.
            self.unconfirmed[self._tag] = event
            if span is not None:
                self._spans[event.row] = span
            if write is None:
                self._publish_plainly(event, headers)
                continue
            pieces += frames
            size += len(frames[2]) + event.size
            if size > _CHUNK:
                write(self._connection, [b"".join(pieces)])
                pieces, size = [], 0
        if pieces and write is not None:
            write(self._connection, [b"".join(pieces)])
        for event, outcome in rejected:
            self._user.ended(self, [event], [outcome])

    def give_up(self, error: str = "unknown") -> list[Outgoing]:
        for span in self._spans.values():
            tracing.end(span, error)
        self._spans = {}
        return super().give_up(error)

    def withdraw(self, event: Outgoing) -> bool:
        """
        Expect no confirm of it any more; False if none was.

        The channel has to be given up then: what comes of it all the same, a return
        above all, would be taken for that of another copy.
        """
        for tag, unconfirmed in self.unconfirmed.items():
            if unconfirmed.row == event.row:
                del self.unconfirmed[tag]
                tracing.end(self._spans.pop(event.row, None), "unknown")
                return True
        return False

    def settled(self, messages: list[Outgoing], *, refused: bool) -> None:
        if refused or self._returned or self._spans:
            outcomes = [self._outcome(event, refused) for event in messages]
        else:
            outcomes = [Outcome(event.row, _CONFIRMED) for event in messages]
        self._user.ended(self, messages, outcomes)

    def returned(self, method: Any, properties: Any, body: bytes) -> None:
        # It carries no delivery tag.
        said = f"{method.reply_code} {method.reply_text}"
        self._returned[properties.message_id] = said

    def _outcome(self, event: Outgoing, refused: bool) -> Outcome:
        span = self._spans.pop(event.row, None)
        if event.id in self._returned:
            tracing.end(span, "returned")
            return Outcome(event.row, Kind.RETURNED, self._returned.pop(event.id))
        if refused:
            tracing.end(span, "nack")
            return Outcome(event.row, Kind.UNKNOWN, REFUSED, cause=Cause.NACKED)
        tracing.end(span)
        return Outcome(event.row, Kind.CONFIRMED)

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
            wire.properties(event, headers, self._app_id, self._user_id),
            mandatory=True,
        )
