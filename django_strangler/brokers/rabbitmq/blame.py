"""Whose fault it is that RabbitMQ closed a channel."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from django_strangler.brokers.base import Kind, Outcome, Outgoing
from django_strangler.logs import Sieve, fields

from .diary import logger

FORBIDDEN = 403
HOLD, LONGEST_HOLD = 5.0, 60.0  # Seconds.
# "access to exchange … refused", not "access to topic …": nothing at all may be sent.
_EVERYTHING = re.compile(r"access to exchange '")


@dataclass(slots=True)
class _Refused:
    event: Outgoing
    code: int
    reason: str
    times: int = 1


@dataclass(slots=True)
class _Hold:
    until: float
    length: float
    reason: str


class Blame:
    """
    Finds the event that RabbitMQ closes the channel for, by sending singly.

    Only what is refused alone while a neighbour of another type passes is rejected;
    with no such neighbour at hand, what is refused alone twice. Once one is found, the
    others go the usual way again. A type that is forbidden is held from then on: one
    event of it is tried alone now and then. Whatever is as large as one that was too
    large goes alone as well.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.outcomes: list[Outcome] = []  # To be reported.
        self.hunting = False
        self.trouble = ""  # It is nobody's fault: everything is refused.
        self._clock = clock
        self._sieve = Sieve(clock)
        self._alone: deque[Outgoing] = deque()
        self._current: Outgoing | None = None
        self._refused: list[_Refused] = []
        self._passed: set[str] = set()
        self._held: dict[str, _Hold] = {}
        self._too_large = float("inf")

    @property
    def watchful(self) -> bool:
        """Whether events have to be sifted."""
        return bool(self._held) or self._too_large != float("inf")

    @property
    def pending(self) -> bool:
        """Whether something waits to be sent alone."""
        return bool(self.hunting or self._alone or self._current)

    def sift(self, events: Iterable[Outgoing]) -> list[Outgoing]:
        """Those that may go the usual way; the others are held, or tried alone."""
        usual: list[Outgoing] = []
        now = self._clock()
        for event in events:
            hold = self._held.get(event.type)
            if hold is None:
                (self._alone if event.size >= self._too_large else usual).append(event)
            elif now < hold.until:
                self._report_held(event, hold)
            else:
                hold.until = now + hold.length
                self._alone.append(event)
        return usual

    def begin(self, events: Sequence[Outgoing], code: int, reason: str) -> None:
        """The channel was closed, with these events unconfirmed."""
        if _EVERYTHING.search(reason):
            self._alone.extend(events)
            self._give_up(reason)
            return
        self.hunting = bool(events)
        self._refused, self._passed = [], set()
        # RabbitMQ often names the routing key or the size: those first.
        named = [event for event in events if _names(reason, event)]
        others = [event for event in events if not _names(reason, event)]
        self._alone.extendleft(reversed(named + others))

    def next(self) -> Outgoing | None:
        """The event to send alone now."""
        if self._refused:
            types = {each.event.type for each in self._refused}
            neighbour = self._neighbour(types)
            if neighbour is not None and len(types) < 3:
                self._alone.remove(neighbour)
                self._current = neighbour
                return neighbour
            if len(types) > 1:
                self._give_up(self._refused[-1].reason)
                return None
            if self._refused[0].times < 2:
                self._current = self._refused[0].event
                return self._current
            self._judge(self._refused[0])
        self._current = self._alone.popleft() if self._alone else None
        self.hunting = self.hunting and self._current is not None
        return self._current

    def _neighbour(self, types: set[str]) -> Outgoing | None:
        reason = self._refused[0].reason
        others = [each for each in self._alone if each.type not in types]
        innocent = (each for each in others if not _names(reason, each))
        return next(innocent, others[0] if others else None)

    def passed(self) -> None:
        """RabbitMQ took the current event, or at least did not mind it."""
        event, self._current = self._current, None
        if event is None:
            return
        self._passed.add(event.type)
        if self._held.pop(event.type, None):
            logger.info("RabbitMQ: %r may be sent again.", event.type)
        if event.size >= self._too_large:
            self._too_large = float("inf")
        self._refused = [each for each in self._refused if each.event is not event]
        for each in self._refused:
            if each.event.type != event.type:
                self._judge(each)
                break

    def refused(self, code: int, reason: str) -> None:
        """RabbitMQ closed the channel for the current event, which was alone."""
        event, self._current = self._current, None
        if event is None:
            return
        hold = self._held.get(event.type)
        if _EVERYTHING.search(reason):
            self._alone.appendleft(event)
            self._give_up(reason)
        elif hold is not None:
            hold.length = min(2 * hold.length, LONGEST_HOLD)
            hold.until = self._clock() + hold.length
            self._report_held(event, hold)
        elif code != FORBIDDEN and event.size >= self._too_large:
            self._reject(event, reason)
        else:
            self.hunting = True
            for each in self._refused:
                if each.event is event:
                    each.times += 1
                    return
            self._refused.append(_Refused(event, code, reason))
            if self._passed - {event.type}:
                self._judge(self._refused[-1])

    def abandon(self, reason: str) -> None:
        """Whatever waits is unknown: the connection is lost, say."""
        waiting = [each.event for each in self._refused]
        if self._current is not None and self._current not in waiting:
            waiting.append(self._current)
        waiting += self._alone
        self.outcomes += [Outcome(each.row, Kind.UNKNOWN, reason) for each in waiting]
        self._refused, self._current = [], None
        self._alone.clear()
        self.hunting = False

    def _give_up(self, reason: str) -> None:
        self.trouble = reason
        self.abandon(reason)

    def _judge(self, refused: _Refused) -> None:
        event, reason = refused.event, refused.reason
        self._refused.remove(refused)
        extra = fields(event.id, event.type, event.headers, lane=event.lane)
        if refused.code == FORBIDDEN:
            self._held[event.type] = _Hold(self._clock() + HOLD, HOLD, reason)
            logger.warning(
                "RabbitMQ: %r may not be sent: %s. Give the user write permission for "
                "this routing key, then replay what was parked. One event is tried now "
                "and then, the others of this type wait.",
                event.type,
                reason,
                extra=extra,
            )
        elif _names_size(reason, event):
            self._too_large = min(self._too_large, event.size)
            logger.warning(
                "RabbitMQ: an event of %d bytes was refused: %s. Lower "
                "STRANGLER['MAX_PAYLOAD_BYTES'], or raise RabbitMQ's max_message_size.",
                event.size,
                reason,
                extra=extra,
            )
        elif (more := self._sieve.passes(event.type)) is not None:
            logger.warning(
                "RabbitMQ: event %s was refused: %s.%s",
                event.id,
                reason,
                more,
                extra=extra,
            )
        self._reject(event, reason)
        # The others are innocent, as far as anybody knows.
        self.abandon(f"unknown: the channel was closed for another event: {reason}")

    def _reject(self, event: Outgoing, reason: str) -> None:
        self.outcomes.append(Outcome(event.row, Kind.REJECTED, reason, True))

    def _report_held(self, event: Outgoing, hold: _Hold) -> None:
        pause = max(0.0, hold.until - self._clock())
        reason = f"held: {hold.reason}"
        self.outcomes.append(
            Outcome(event.row, Kind.UNKNOWN, reason, pause=min(pause, HOLD))
        )


def _names(reason: str, event: Outgoing) -> bool:
    return f"'{event.type}'" in reason or _names_size(reason, event)


def _names_size(reason: str, event: Outgoing) -> bool:
    return re.search(rf"\b{event.size}\b", reason) is not None
