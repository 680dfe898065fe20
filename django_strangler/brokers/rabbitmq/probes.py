"""Events sent apart, so that what may not get through is in nobody's way."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django_strangler.brokers.base import Cause, Kind, Outcome, Outgoing

from .culprit import FORBIDDEN, NODE_FAULTS, Refusal
from .event_channel import ChannelUser, EventChannel
from .link import Link, Loop, Loss
from .urls import Node

AT_ONCE = 100  # Channels; RabbitMQ allows 2,047 on a connection.

Ended = Callable[[Outgoing, Outcome, Refusal | None], None]


class Probe:
    """Some events of one type, on a channel of their own; each gets an outcome."""

    def __init__(
        self, events: Sequence[Outgoing], ended: Ended, *, alone: bool = False
    ) -> None:
        self.events = {event.row: event for event in events}
        self.on_ended = ended
        self.alone = alone  # No other is under way meanwhile.
        self.channel: EventChannel | None = None
        self.sent_at = 0.0  # Not yet.

    def end(self, outcome: Outcome, refusal: Refusal | None = None) -> None:
        """This is what became of one of them."""
        event = self.events.pop(outcome.row, None)
        if event is not None:
            self.on_ended(event, outcome, refusal)

    def end_all(
        self, reason: str, cause: Cause, refusal: Refusal | None = None
    ) -> None:
        """The same became of all that are left."""
        for row in list(self.events):
            self.end(Outcome(row, Kind.UNKNOWN, reason, cause=cause), refusal)


class Probes:
    """
    Sends probes over a link of its own, which is opened when first needed.

    An outcome comes within the confirm timeout, or twice that if it has to be found out
    first which of several probes ends the connection.
    """

    def __init__(
        self,
        loop: Loop,
        nodes: Sequence[Node],
        open_channel: Callable[[Any, ChannelUser], EventChannel],
    ) -> None:
        self._loop, self._open_channel = loop, open_channel
        self._link = Link(loop, nodes, up=self._up, down=self._down)
        self._waiting: deque[Probe] = deque()
        self._under_way: list[Probe] = []
        self._is_blocked = False

    def send(self, probe: Probe) -> None:
        """Publish its events once there is a channel for them."""
        if probe.alone:
            self._waiting.appendleft(probe)
        else:
            self._waiting.append(probe)
        self._expire_later(probe)
        self._link.open()
        self._send_waiting()

    # The link.

    def _up(self, connection: Any) -> None:
        self._is_blocked = False
        connection.add_on_connection_blocked_callback(partial(self._block, True))
        connection.add_on_connection_unblocked_callback(partial(self._block, False))
        self._send_waiting()

    def _block(self, is_blocked: bool, *_told: object) -> None:
        self._is_blocked = is_blocked

    def _down(self, loss: Loss) -> None:
        probes, self._under_way = self._under_way, []
        self._is_blocked = False
        for probe in probes:
            if probe.channel is not None:
                probe.channel.give_up()
        refusal = Refusal(loss.code, loss.text)
        if loss.code not in NODE_FAULTS:
            for probe in probes:
                probe.end_all(loss.what, Cause.LOST)
        elif sum(len(probe.events) for probe in probes) == 1:
            for probe in probes:
                probe.end_all(loss.text, Cause.NODE_FAULT, refusal)
        else:
            # One of them did it: each alone now.
            for probe in probes:
                events, probe.events = probe.events, {}
                for event in events.values():
                    again = Probe([event], probe.on_ended, alone=True)
                    self._waiting.appendleft(again)
                    self._expire_later(again)

    # The channels.

    def _send_waiting(self) -> None:
        connection = self._link.connection
        while (
            self._waiting
            and connection is not None
            and connection.is_open
            and len(self._under_way) < AT_ONCE
        ):
            probe = self._waiting[0]
            is_alone = probe.alone or any(each.alone for each in self._under_way)
            if is_alone and self._under_way:
                return
            self._waiting.popleft()
            if probe.events:  # Otherwise it has waited for too long.
                self._under_way.append(probe)
                probe.channel = self._open_channel(connection, self)

    def _probe(self, channel: EventChannel) -> Probe | None:
        return next((it for it in self._under_way if it.channel is channel), None)

    def opened(self, channel: EventChannel) -> None:
        """Events can be published now."""
        if probe := self._probe(channel):
            probe.sent_at = time.monotonic()
            channel.publish(list(probe.events.values()))

    def ended(
        self, channel: EventChannel, events: list[Outgoing], outcomes: list[Outcome]
    ) -> None:
        """These have their outcomes."""
        if probe := self._probe(channel):
            for outcome in outcomes:
                probe.end(outcome)
            if not probe.events:
                self._leave(probe)

    def closed(
        self, channel: EventChannel, code: int, text: str, events: list[Outgoing]
    ) -> None:
        """RabbitMQ closed it, with these unconfirmed."""
        probe, refusal = self._probe(channel), Refusal(code, text)
        if probe is None:
            return
        forbidden = code == FORBIDDEN and not refusal.is_of_everything
        cause = Cause.FORBIDDEN if forbidden else Cause.LOST
        # Of several, it is not known whose refusal it is.
        is_theirs = len(events) == 1 or forbidden or refusal.is_of_everything
        probe.end_all(text, cause, refusal if is_theirs else None)
        self._leave(probe)

    def _expire_later(self, probe: Probe) -> None:
        patience = self._link.node.confirm_timeout
        self._loop.later(patience, partial(self._expire, probe))

    def _expire(self, probe: Probe) -> None:
        if not probe.events:
            return
        if self._is_blocked:
            self._expire_later(probe)
        elif probe.channel is not None and probe.channel.ready:
            probe.end_all("A queue did not confirm the event in time.", Cause.OVERDUE)
        else:
            probe.end_all("The event could not be sent in time.", Cause.LOST)
        self._leave(probe)

    def _leave(self, probe: Probe) -> None:
        """Its channel has done its work."""
        if probe.channel is not None and not probe.events:
            probe.channel.give_up()
        if probe in self._under_way and not probe.events:
            self._under_way.remove(probe)
        self._send_waiting()
