"""Whose fault it is that RabbitMQ closed a channel or a connection."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

from django_strangler.announcing import Announcer
from django_strangler.brokers.base import Cause, Kind, Outcome, Outgoing
from django_strangler.logs import fields

from .explain import logger

MISSING, FORBIDDEN = 404, 403
# The connection is closed so: for a frame that the node cannot stand, or by a fault of
# its own.
NODE_FAULTS = frozenset({501, 502, 503, 505, 506, 540, 541})
NEIGHBOURS = 2  # Refused as well, they show that everything is.
MOST_BLAMED = 1000  # Events that a node's fault is remembered of.
# "access to exchange … refused", not "access to topic …": nothing at all may be sent.
# Nor is it an event's fault that RabbitMQ knows the connection by another name.
_EVERYTHING = re.compile(r"access to exchange '|user_id property set to")


class Refusal(NamedTuple):
    """RabbitMQ's words when it closed a channel or a connection."""

    code: int
    text: str

    @property
    def is_of_everything(self) -> bool:
        """Whether it would say so to any event."""
        return self.code == MISSING or bool(_EVERYTHING.search(self.text))

    def names(self, event: Outgoing) -> bool:
        """Whether it speaks of this event: it tells the routing key or the size."""
        return f"'{event.type}'" in self.text or self.names_size(event)

    def names_size(self, event: Outgoing) -> bool:
        """Whether the event's size is what is wrong."""
        return re.search(rf"\b{event.size}\b", self.text) is not None


class Conclusion(NamedTuple):
    """What a search has shown; with neither, nothing is wrong with any event."""

    culprit: Outgoing | None = None
    refusal: Refusal | None = None  # Without a culprit: everything is refused.


Search = Generator[Outgoing, Refusal | None, Conclusion]


def search(events: Sequence[Outgoing], refusal: Refusal) -> Search:
    """
    Find the one event among these that RabbitMQ refused.

    Yields an event to be sent alone, and is told the refusal, or None if it passed.
    What concerns a whole type, or may pass, is believed at once. Only what is refused
    while a neighbour passes is rejected for good; with no neighbour, what is refused
    twice.
    """
    if refusal.is_of_everything:
        return Conclusion(None, refusal)
    waiting = sorted(events, key=lambda event: not refusal.names(event))
    for place, event in enumerate(waiting):
        said = yield event
        if said is None:
            continue
        if said.is_of_everything:
            return Conclusion(None, said)
        if said.code == FORBIDDEN or said.code in NODE_FAULTS:
            return Conclusion(event, said)
        others = [each for each in waiting[place + 1 :] if each.type != event.type]
        others.sort(key=said.names)
        if not others:
            again = yield event
            return Conclusion(event, again) if again else Conclusion()
        for neighbour in others[:NEIGHBOURS]:
            if (yield neighbour) is None:
                return Conclusion(event, said)
        return Conclusion(None, said)
    return Conclusion()


class Blame:
    """What it means for an event that RabbitMQ refuses it."""

    def __init__(
        self, patience: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience, self._monotonic = patience, monotonic
        self._announcer = Announcer(logger)
        self._faults: dict[
            int, float
        ] = {}  # By row: when the node first failed over it.

    def outcome(
        self, event: Outgoing, refusal: Refusal, proved_at: float = float("-inf")
    ) -> Outcome:
        """``proved_at`` is when another event was last confirmed."""
        if refusal.code in NODE_FAULTS:
            return self._fault(event, refusal.text, proved_at)
        if refusal.code == FORBIDDEN:
            cause = Cause.FORBIDDEN
            return Outcome(event.row, Kind.UNKNOWN, refusal.text, cause=cause)
        self._announcer.warning(
            event.type,
            "RabbitMQ refused event %s of %d bytes: %s. If it is too large, lower "
            "STRANGLER['MAX_PAYLOAD_BYTES'], or raise RabbitMQ's max_message_size.",
            event.id,
            event.size,
            refusal.text,
            extra=fields(event.id, event.type, event.headers, lane=event.lane),
        )
        return Outcome(event.row, Kind.REJECTED, refusal.text, True)

    def _fault(self, event: Outgoing, text: str, proved_at: float) -> Outcome:
        """
        The node failed over this event, which may have nothing to do with it.

        It counts as an attempt once that has gone on for minutes in which others were
        confirmed.
        """
        now = self._monotonic()
        if len(self._faults) >= MOST_BLAMED:
            self._faults.clear()
        first = self._faults.setdefault(event.row, now)
        if now < first + self._patience or proved_at < first:
            cause = Cause.NODE_FAULT
            return Outcome(event.row, Kind.UNKNOWN, text, cause=cause)
        return Outcome(event.row, Kind.REJECTED, text)
