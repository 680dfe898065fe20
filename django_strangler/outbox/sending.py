"""Hands what is ready to the broker, and remembers since when it is under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from django.db import Error

from django_strangler import tracing
from django_strangler.brokers import Outgoing

from .rate import Rate
from .work import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingLimits:
    """How much is handed over at once, in bytes, and how long it may be under way."""

    window: int = 32 * 1024 * 1024
    bodies: int = 8 * 1024 * 1024  # Of large events, fetched at once.
    # Seconds. Brokers have shorter ones; an outcome may never come.
    outcome_timeout: float = 300.0


LIMITS = SendingLimits()


class Sending:
    """Fills the window, in the order of the backlog."""

    def __init__(self, work: Work, limits: SendingLimits = LIMITS) -> None:
        self._work, self._limits = work, limits
        self._sent_at: deque[tuple[float, list[int]]] = deque()
        self._was_blocked = False
        self._rate = Rate(work.settings.relay.rate, work.clock)

    @property
    def pause(self) -> float:
        """Seconds until the rate allows the next event."""
        return self._rate.pause

    def send(self) -> bool:
        """One batch of what the window has room for; False if there was none."""
        backlog, settings = self._work.backlog, self._work.settings.relay
        room = min(settings.window - backlog.unmarked, settings.batch_size)
        room = self._rate.allows(room)
        # In batches, so that the broker begins while the rest is prepared.
        events = backlog.take(room, self._limits.window)
        if not events:
            return False
        self._rate.spend(len(events))
        self._hand_over_all(events, probe=False)
        return True

    def allows(self, wanted: int) -> int:
        """How many of those wanted the rate lets go now."""
        return self._rate.allows(wanted)

    def hand_over_probes(self, events: list[Outgoing]) -> None:
        """Send these, which the backlog has as sent, as probes."""
        self._rate.spend(len(events))
        self._hand_over_all(events, probe=True)

    def overdue(self) -> Iterator[list[int]]:
        """Rows whose outcome has not come for so long that it never may."""
        now = self._work.clock()
        if self._work.broker.is_blocked:
            self._was_blocked = True
            return
        if self._was_blocked:
            # The broker had them, and said that it would be long.
            self._was_blocked = False
            self._sent_at = deque((now, rows) for _, rows in self._sent_at)
        sent = self._work.backlog.sent
        before = now - self._limits.outcome_timeout
        while self._sent_at:
            sent_at, rows = self._sent_at[0]
            if any(row in sent for row in rows):
                if sent_at > before:
                    return
                yield [row for row in rows if row in sent]
            self._sent_at.popleft()

    def _hand_over_all(self, events: list[Outgoing], *, probe: bool) -> None:
        self._sent_at.append((self._work.clock(), [event.row for event in events]))
        # One event of a key at most is under way, so these may go before those.
        small = [event for event in events if event.body is not None]
        self._hand_over(small, probe=probe)
        large = [event for event in events if event.body is None]
        try:
            while large:
                large = self._send_large(large, probe=probe)
        except Error:
            self._take_back(large)
            raise

    def _send_large(self, events: list[Outgoing], *, probe: bool) -> list[Outgoing]:
        """Fetch some bodies and send them; returns the rest."""
        count = size = 0
        while count < len(events) and (not count or size < self._limits.bodies):
            size += events[count].size
            count += 1
        bodies = self._work.store.bodies(event.row for event in events[:count])
        found = []
        for event in events[:count]:
            if event.row in bodies:
                found.append(event._replace(body=bodies[event.row]))
            else:
                # Confirmed elsewhere, and deleted meanwhile.
                self._work.held.forget(event.type, event.row, self._work.clock())
                if self._work.backlog.land(event.row):
                    self._work.backlog.finish(event)
        self._hand_over(found, probe=probe)
        return events[count:]

    def _hand_over(self, events: list[Outgoing], *, probe: bool) -> None:
        work = self._work
        # Looked at here, as late as can be: everything before may have taken long.
        if not work.leases.is_valid or work.stop.is_set():
            self._take_back(events)
        elif events:
            system, exchange = work.broker.system, work.settings.exchange
            with tracing.sending(system, exchange, len(events)):
                work.broker.send(events, probe=probe)

    def _take_back(self, events: list[Outgoing]) -> None:
        """They were not sent after all."""
        for event in events:
            self._work.held.forget(event.type, event.row, self._work.clock())
            if self._work.backlog.land(event.row):
                self._work.backlog.drop(event)
