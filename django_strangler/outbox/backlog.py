"""
What a relay has in memory, and what of it may be sent: the rule of order.

An event is sent only when every older event of its key is confirmed or parked. So at
most one event of a key is under way; those behind it wait here, or in the table.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

from django_strangler.brokers.base import Outgoing

from .store import Due


class Backlog:
    """Events read and not yet marked: bookkeeping, no database, broker or clock."""

    def __init__(self, *, capacity: int) -> None:
        self._capacity = capacity  # Of events that wait behind others of their key.
        self._ready: deque[Outgoing] = deque()
        self._waiting: dict[str, deque[Outgoing]] = {}
        self._waiting_count = 0
        self._busy: set[str] = set()  # Keys with an event ready or under way.
        # Keys with more pending events than are kept here; read again when free.
        self._crowded: set[str] = set()
        self._held: dict[
            str | int, float
        ] = {}  # Keys, or rows without one: until when.
        self.sent: dict[int, Outgoing] = {}
        self.sent_bytes = 0
        self.confirmed: list[Outgoing] = []  # By the broker, not yet marked.
        self.has_more = True  # The table may hold events that could be sent now.

    # What there is

    @property
    def ready(self) -> int:
        """How many events may be sent now."""
        return len(self._ready)

    @property
    def unmarked(self) -> int:
        """What the window counts."""
        return len(self.sent) + len(self.confirmed)

    @property
    def is_empty(self) -> bool:
        """Nothing ready, under way or unmarked; held events are in the table."""
        return not (self._ready or self.sent or self.confirmed)

    @property
    def held_until(self) -> float | None:
        """When the first held key or row comes free."""
        return min(self._held.values(), default=None)

    @property
    def held(self) -> int:
        """How many keys and rows are held."""
        return len(self._held)

    def known_rows(self) -> list[int]:
        """The rows that a read leaves out."""
        rows = [event.row for event in self._ready]
        rows += self.sent
        rows += [event.row for event in self.confirmed]
        for queue in self._waiting.values():
            rows += [event.row for event in queue]
        rows += [held for held in self._held if isinstance(held, int)]
        return rows

    def left_out_keys(self) -> list[str]:
        """The keys that a read leaves out altogether."""
        held = [key for key in self._held if isinstance(key, str)]
        return held + [key for key in self._crowded if key not in self._held]

    # What happens

    def add(self, due: Iterable[Due], now: float) -> None:
        """Take in what was read, lowest id first."""
        for event, wait in due:
            key = event.order_key
            if key in self._held:
                continue
            if wait > 0:
                # It waits for its next attempt, and its key with it.
                self.hold(event, now + wait)
            elif not key:
                self._ready.append(event)
            elif key not in self._busy:
                self._busy.add(key)
                self._ready.append(event)
            elif key not in self._crowded:
                self._add_behind(event)

    def take(self, count: int, size: int) -> list[Outgoing]:
        """The next events to send: at most ``count``, and ``size`` bytes of bodies."""
        taken: list[Outgoing] = []
        while self._ready and len(taken) < count:
            event = self._ready[0]
            if self.sent_bytes + event.size > size and self.sent:
                break
            self._ready.popleft()
            self.sent[event.row] = event
            self.sent_bytes += event.size
            taken.append(event)
        return taken

    def confirm(self, row: int) -> None:
        """The broker has it: the next event of its key may go."""
        event = self._land(row)
        if event is not None:
            self.confirmed.append(event)
            self.advance(event.order_key)

    def take_back(self, row: int) -> Outgoing | None:
        """It did not get through; the caller holds it, parks it or just forgets it."""
        return self._land(row)

    def advance(self, key: str) -> None:
        """The event under way has come to its end: on to the next of its key."""
        queue = self._waiting.get(key)
        if queue:
            self._ready.append(queue.popleft())
            self._waiting_count -= 1
            if not queue:
                del self._waiting[key]
        elif key:
            self._busy.discard(key)
            if key in self._crowded:
                self._crowded.discard(key)
                self.has_more = True

    def hold(self, event: Outgoing, until: float) -> None:
        """Keep back an event and its key; what waits behind it is read again later."""
        self._held[event.order_key or event.row] = until
        self.forget_key(event.order_key)

    def forget_key(self, key: str) -> None:
        """Drop what is known of a key's events; the table has them."""
        if key:
            self._waiting_count -= len(self._waiting.pop(key, ()))
            self._busy.discard(key)
            self._crowded.discard(key)
            self.has_more = True

    def release(self, now: float) -> None:
        """Let go of what was held long enough."""
        for held in [held for held, until in self._held.items() if until <= now]:
            del self._held[held]
            self.has_more = True

    def forget_unsent(self, lanes: Collection[int] | None = None) -> None:
        """Drop what has not been sent, of these lanes or of all: it is read again."""
        self._ready = deque(
            event
            for event in self._ready
            if lanes is not None and event.lane not in lanes
        )
        for key in list(self._waiting):
            if lanes is None or self._waiting[key][0].lane in lanes:
                self._waiting_count -= len(self._waiting.pop(key))
        under_way = {event.order_key for event in self.sent.values()}
        kept = {event.order_key for event in self._ready}
        self._busy = (under_way | kept | set(self._waiting)) - {""}
        # A key that stays busy with nothing behind it is read again in order, because
        # its event under way is left out by its row.
        self._crowded &= self._busy
        if lanes is None:
            self._held.clear()
        self.has_more = True

    def is_under_way(self, lanes: Collection[int]) -> bool:
        """Whether an event of these lanes is sent or not yet marked."""
        return any(event.lane in lanes for event in self.sent.values()) or any(
            event.lane in lanes for event in self.confirmed
        )

    def _add_behind(self, event: Outgoing) -> None:
        key = event.order_key
        queue = self._waiting.get(key)
        # A fair share: a few crowded keys must not fill the memory for all others.
        fair = self._capacity // (len(self._waiting) + 1)
        share = min(self._capacity // 4, max(8, fair))
        full = self._waiting_count >= self._capacity
        if full or (queue is not None and len(queue) >= share):
            self._crowded.add(key)
            return
        if queue is None:
            queue = self._waiting[key] = deque()
        queue.append(event)
        self._waiting_count += 1

    def _land(self, row: int) -> Outgoing | None:
        event = self.sent.pop(row, None)
        if event is not None:
            self.sent_bytes -= event.size
        return event
