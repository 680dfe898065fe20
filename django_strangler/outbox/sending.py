"""Hands what is ready to the broker, and remembers since when it is under way."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

from django.db import Error

from django_strangler import conf, tracing
from django_strangler.brokers import Broker, Outgoing

from .backlog import Backlog
from .leases import Leases
from .store import Store

WINDOW_BYTES = 32 * 1024 * 1024
BODIES_AT_ONCE = 8 * 1024 * 1024
OUTCOME_TIMEOUT = 300.0  # Brokers have shorter ones; an outcome may never come.


class Sending:
    """Fills the window, in the order of the backlog."""

    def __init__(
        self,
        backlog: Backlog,
        store: Store,
        leases: Leases,
        broker: Broker,
        settings: conf.Settings,
        stop: threading.Event,
        monotonic: Callable[[], float],
    ) -> None:
        self._backlog, self._store, self._leases = backlog, store, leases
        self._broker, self._settings, self._stop = broker, settings, stop
        self._monotonic = monotonic
        self._sent_at: deque[tuple[float, list[int]]] = deque()

    def send(self) -> bool:
        """One batch of what the window has room for; False if there was none."""
        backlog, settings = self._backlog, self._settings
        room = settings.window - backlog.unmarked
        # In batches, so that the broker begins while the rest is prepared.
        events = backlog.take(min(room, settings.batch_size), WINDOW_BYTES)
        if not events:
            return False
        self._sent_at.append((self._monotonic(), [event.row for event in events]))
        # One event of a key at most is under way, so these may go before those.
        self._hand_over([event for event in events if event.body is not None])
        large = [event for event in events if event.body is None]
        try:
            while large:
                large = self._send_large(large)
        except Error:
            self._take_back(large)
            raise
        return True

    def overdue(self) -> Iterator[list[int]]:
        """Rows whose outcome has not come for so long that it never may."""
        sent = self._backlog.sent
        before = self._monotonic() - OUTCOME_TIMEOUT
        while self._sent_at:
            sent_at, rows = self._sent_at[0]
            if any(row in sent for row in rows):
                if sent_at > before:
                    return
                yield [row for row in rows if row in sent]
            self._sent_at.popleft()

    def _send_large(self, events: list[Outgoing]) -> list[Outgoing]:
        """Fetch some bodies and send them; returns the rest."""
        count = size = 0
        while count < len(events) and (not count or size < BODIES_AT_ONCE):
            size += events[count].size
            count += 1
        bodies = self._store.bodies(event.row for event in events[:count])
        found = []
        for event in events[:count]:
            if event.row in bodies:
                found.append(event._replace(body=bodies[event.row]))
            elif self._backlog.land(event.row):
                # Confirmed elsewhere, and deleted meanwhile.
                self._backlog.finish(event)
        self._hand_over(found)
        return events[count:]

    def _hand_over(self, events: list[Outgoing]) -> None:
        # Looked at here, as late as can be: everything before may have taken long.
        if not self._leases.is_valid or self._stop.is_set():
            self._take_back(events)
        elif events:
            system, exchange = self._broker.system, self._settings.exchange
            with tracing.sending(system, exchange, len(events)):
                self._broker.send(events)

    def _take_back(self, events: list[Outgoing]) -> None:
        """They were not sent after all."""
        for event in events:
            if self._backlog.land(event.row):
                self._backlog.drop(event)
