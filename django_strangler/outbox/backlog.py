"""
What a relay has in memory, and what of it may be sent: the rule of order.

An event is sent only when every older event of its key is confirmed or parked. So at
most one event of a key is under way; those behind it wait here, or in the table.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Collection, Iterable
from typing import NamedTuple

from django_strangler.brokers.base import Outgoing

from .rows import FOREVER, Due


class KeptBack(NamedTuple):
    """A key, or a row without one, that is kept back for a while."""

    until: float
    lane: int
    is_due: bool  # Kept back for the broker's sake; its own time has come.


HELD_AT_MOST = 20_000


class Backlog:
    """Events read and not yet marked; knows no database, broker or clock."""

    def __init__(self, *, capacity: int, held_at_most: int = HELD_AT_MOST) -> None:
        self._capacity = capacity  # Of events that wait behind others of their key.
        self._held_at_most = held_at_most  # Of keys; the table knows of the others.
        self._ready: deque[Outgoing] = deque()
        self._waiting: dict[str, deque[Outgoing]] = {}
        self._waiting_count = 0
        self._busy: dict[str, int] = {}  # Keys with an event ready or sent: its row.
        # Busy keys with more pending events than are kept here; read again when free.
        self._crowded: set[str] = set()
        self._held: dict[str | int, KeptBack] = {}
        self.sent: dict[int, Outgoing] = {}
        self.sent_bytes = 0
        self.confirmed: list[Outgoing] = []  # By the broker, not yet marked.
        # What has come free: the table has more of these keys, or these rows.
        self.freed: set[str | int] = set()
        self.has_forgotten = False  # And only a read of everything finds what.

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
    def held(self) -> int:
        """How many keys and rows are held."""
        return len(self._held)

    @property
    def holds_due(self) -> bool:
        """Whether something is held that is due, and waits for the broker only."""
        return any(hold.is_due for hold in self._held.values())

    @property
    def held_until(self) -> float | None:
        """When the first held key or row comes free."""
        return min((hold.until for hold in self._held.values()), default=None)

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

    def is_under_way(self, lanes: Collection[int]) -> bool:
        """Whether an event of these lanes is sent or not yet marked."""
        return any(event.lane in lanes for event in self.sent.values()) or any(
            event.lane in lanes for event in self.confirmed
        )

    def is_kept_back(self, event: Outgoing) -> bool:
        """Whether its key, or the row of one without, is held or has one under way."""
        key = event.order_key
        return (key or event.row) in self._held or key in self._busy

    # What happens

    def add(
        self, due: Iterable[Due], now: float, without_types: Collection[str] = ()
    ) -> int:
        """
        Take in what was read, lowest id first; says how many can be sent in time.

        An event that may not be sent now stops those behind it.
        """
        taken = 0
        stopped: set[str] = set()
        for event, wait, _ in due:
            key = event.order_key
            if key in stopped or (key or event.row) in self._held:
                continue
            if event.type in without_types:
                stopped.add(key)
            elif key in self._busy:
                taken += self._add_behind(event, wait)
            elif wait > 0:
                stopped.add(key)
                self._wait_for_next_attempt(event, now, wait)
            else:
                if key:
                    self._busy[key] = event.row
                self._ready.append(event)
                taken += 1
            stopped.discard("")
        return taken

    def crowd(self, keys: Iterable[str]) -> None:
        """The table has more of these keys than was read."""
        self._crowded |= self._busy.keys() & set(keys)

    def start(self, events: Iterable[Outgoing]) -> None:
        """These are sent by a way of their own: each is the oldest of its key."""
        for event in events:
            if event.order_key:
                self._busy[event.order_key] = event.row
            self.sent[event.row] = event
            self.sent_bytes += event.size

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

    def land(self, row: int) -> Outgoing | None:
        """
        It is under way no more; None if it was not.

        What became of it comes next: ``confirm``, ``finish``, ``hold``, ``leave`` or
        ``drop``.
        """
        event = self.sent.pop(row, None)
        if event is not None:
            self.sent_bytes -= event.size
        return event

    def confirm(self, event: Outgoing) -> None:
        """It is to be marked; the next event of its key may go."""
        self.confirmed.append(event)
        self.finish(event)

    def finish(self, event: Outgoing) -> None:
        """It has come to its end: on to the next of its key."""
        key = event.order_key
        if self._busy.get(key) != event.row:
            return
        queue = self._waiting.get(key)
        if queue:
            following = queue.popleft()
            self._waiting_count -= 1
            if not queue:
                del self._waiting[key]
            self._busy[key] = following.row
            self._ready.append(following)
            return
        del self._busy[key]
        if key in self._crowded:
            self._crowded.discard(key)
            self.freed.add(key)

    def hold(self, event: Outgoing, until: float, *, is_due: bool = False) -> None:
        """Keep it and its key back; what waits behind it is read again later."""
        self._free(event)
        self._held[event.order_key or event.row] = KeptBack(until, event.lane, is_due)

    def drop(self, event: Outgoing) -> None:
        """Forget it and what waits behind it; the table has them."""
        self._free(event)
        self.freed.add(event.order_key or event.row)

    def leave(self, event: Outgoing) -> None:
        """Forget it and what waits behind it, which all wait for its type."""
        self._free(event)

    def drop_types(self, types: Collection[str]) -> None:
        """These are not to be sent now: forget them, and what waits behind them."""
        ready, self._ready = self._ready, deque()
        for event in ready:
            if event.type in types:
                self._free(event)
            else:
                self._ready.append(event)
        for key, queue in list(self._waiting.items()):
            kept = deque(
                itertools.takewhile(lambda each: each.type not in types, queue)
            )
            self._waiting_count -= len(queue) - len(kept)
            if kept:
                self._waiting[key] = kept
            else:
                del self._waiting[key]

    def drop_keys(self, keys: Collection[str]) -> None:
        """Nothing more of these is to be sent now."""
        ready, self._ready = self._ready, deque()
        for event in ready:
            if event.order_key in keys:
                self._free(event)
            else:
                self._ready.append(event)
        for key in self._waiting.keys() & set(keys):
            self._waiting_count -= len(self._waiting.pop(key))

    def release(self, now: float) -> None:
        """Let go of what was held long enough."""
        for held in [held for held, hold in self._held.items() if hold.until <= now]:
            del self._held[held]
            self.freed.add(held)

    def forget_unsent(self, lanes: Collection[int] | None = None) -> None:
        """Drop what has not been sent, of these lanes or of all: it is read again."""
        everything = lanes is None
        self._ready = deque(
            event
            for event in self._ready
            if not everything and event.lane not in (lanes or ())
        )
        self._waiting = {
            key: queue
            for key, queue in self._waiting.items()
            if not everything and queue[0].lane not in (lanes or ())
        }
        self._waiting_count = sum(map(len, self._waiting.values()))
        # A key stays busy while its event is under way: what is read of it meanwhile
        # goes behind that, in order, because that row is left out.
        under_way = [*self._ready, *self.sent.values()]
        self._busy = {event.order_key: event.row for event in under_way}
        self._busy.pop("", None)
        self._crowded &= self._busy.keys()
        self.has_forgotten = True

    def forget_lanes(self, lanes: Collection[int]) -> None:
        """These are another relay's now: let go of what is held there as well."""
        self.forget_unsent(lanes)
        self._held = {
            held: hold for held, hold in self._held.items() if hold.lane not in lanes
        }

    def _wait_for_next_attempt(self, event: Outgoing, now: float, wait: float) -> None:
        # Its key waits with it; with too many of them, only the table knows.
        if wait < FOREVER and len(self._held) < self._held_at_most:
            held = event.order_key or event.row
            self._held[held] = KeptBack(now + wait, event.lane, False)

    def _add_behind(self, event: Outgoing, wait: float) -> bool:
        key = event.order_key
        if key in self._crowded:
            return False
        queue = self._waiting.get(key)
        # A fair share: a few crowded keys must not fill the memory for all others.
        fair = self._capacity // (len(self._waiting) + 1)
        share = min(self._capacity // 4, max(8, fair))
        full = self._waiting_count >= self._capacity
        # One that has to wait for its next attempt cannot just take its turn.
        if full or wait > 0 or (queue is not None and len(queue) >= share):
            self._crowded.add(key)
            return False
        if queue is None:
            queue = self._waiting[key] = deque()
        queue.append(event)
        self._waiting_count += 1
        return True

    def _free(self, event: Outgoing) -> None:
        key = event.order_key
        if self._busy.get(key) == event.row:
            del self._busy[key]
            self._crowded.discard(key)
            self._waiting_count -= len(self._waiting.pop(key, ()))
