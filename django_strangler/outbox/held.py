"""
Types that the broker does not take, and what people have paused: left out of reads.

A type is held as soon as one event of it shows that the next would meet the same. From
then on it is only probed: one event at a time, ever less often. Once a probe is
confirmed, the type opens with two events, four, eight, until as many as a window holds
went through; so a queue with room for one gets its neighbour no flood.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from .backoff import backoff

UNROUTABLE = "unroutable"
FIRST_PROBE, LAST_PROBE = 1.0, 60.0  # Seconds between probes, at first and at last.
NOT_PROBED, NOT_PARKED = 180.0, 86400.0  # When it is forgotten.
LOST_PROBE = 1.0  # After a probe of which nothing is known.
NOTHING_TO_PROBE = 5.0  # Where no event of the type is pending in our lanes.


class Change(enum.Enum):
    """What the table has to be told of a held type."""

    HELD = "held"
    REFUSED = "refused"
    PARKS = "parks"
    OPENED = "opened"


@dataclass(slots=True)
class Suspension:
    """One type: since when, why, and how its probes went."""

    cause: str  # The value of a Cause, or UNROUTABLE.
    reason: str
    since: float  # On the relay's clock, as the next.
    probe_at: float
    tries: int = 0  # Probes that were refused.
    parks: bool = False  # It is sent again, and what is returned is parked.
    allowed: int = 1  # How many may be sent at once.
    went: int = 0  # How many went through since it began to open.
    probing: set[int] = field(default_factory=set)  # Rows under way.
    was_refused: bool = False  # One of them.


class Held:
    """What a relay does not send. Knows no database: ``changes`` are for the table."""

    def __init__(self) -> None:
        self._types: dict[str, Suspension] = {}
        self._paused: frozenset[str] = frozenset()
        self.keys: frozenset[str] = frozenset()  # Paused.
        self.everything = False  # Is paused.
        self.types: frozenset[str] = frozenset()  # Left out of reads.
        self.changes: dict[str, Change] = {}

    def __contains__(self, type: object) -> bool:
        return type in self._types

    def __getitem__(self, type: str) -> Suspension:
        return self._types[type]

    @property
    def opening(self) -> bool:
        """Whether a type opens, or is just being probed."""
        return any(held.went or held.probing for held in self._types.values())

    def due(self, now: float) -> list[str]:
        """The types of which a probe may be sent."""
        if self.everything:
            return []
        return [
            type
            for type, held in self._types.items()
            if now >= held.probe_at
            and not (held.parks or held.probing or type in self._paused)
        ]

    # What became of an event of a type

    def refuse(self, type: str, row: int, cause: str, reason: str, now: float) -> None:
        """The broker does not take the type: hold it, or hold it for longer."""
        held = self._types.get(type)
        if held is None or held.parks:
            probe_at = now + backoff(1, first=FIRST_PROBE, most=LAST_PROBE)
            self._types[type] = Suspension(cause, reason, now, probe_at)
            self.changes[type] = Change.HELD
            self._leave_out()
        elif row in held.probing:
            held.cause, held.reason, held.was_refused = cause, reason, True
            self._ends(type, held, row, now)

    def probe_by(self, type: str, at: float, now: float) -> None:
        """Its next probe decides something that is due then: it is not later."""
        held = self._types[type]
        if now < at < held.probe_at:
            held.probe_at = at

    def confirm(self, type: str, row: int, now: float, *, window: int) -> None:
        """The broker took one; of a probe, more may follow."""
        held = self._types.get(type)
        if held is None:
            return
        if held.parks:
            self.open(type)
        elif row in held.probing:
            # What was sent before the type was held says nothing.
            held.went += 1
            self._ends(type, held, row, now)
            if held.went >= window and not (held.was_refused or held.probing):
                self.open(type)

    def forget(self, type: str, row: int, now: float, *, pause: float = 0.0) -> None:
        """Nothing follows from what became of it: the next one is tried."""
        held = self._types.get(type)
        if held is not None and row in held.probing:
            self._ends(type, held, row, now + pause)

    def park(self, type: str) -> None:
        """It was held for long enough: from now on, what is returned is parked."""
        held = self._types[type]
        held.parks = True
        held.probing.clear()
        self.changes[type] = Change.PARKS
        self._leave_out()

    def open(self, type: str) -> None:
        """It is sent like any other again."""
        opened = self._types.pop(type)
        self.changes[type] = Change.OPENED
        # Of a broker that was ill, all may be well.
        for other in self._types.values():
            if other.cause == opened.cause and not other.probing:
                other.probe_at = float("-inf")
        self._leave_out()

    def probe(self, type: str, rows: Collection[int]) -> None:
        """These are sent as probes."""
        held = self._types[type]
        held.probing, held.was_refused = set(rows), False

    def has_none(self, type: str, now: float) -> None:
        """No event of it could be probed; one that was opening has no more."""
        held = self._types[type]
        if held.went:
            self.open(type)
        else:
            held.probe_at = now + NOTHING_TO_PROBE

    def _ends(self, type: str, held: Suspension, row: int, now: float) -> None:
        held.probing.discard(row)
        if held.probing:
            return
        if held.was_refused:
            held.tries += 1
            held.allowed, held.went = 1, 0
            held.probe_at = now + backoff(
                held.tries + 1, first=FIRST_PROBE, most=LAST_PROBE
            )
            self.changes[type] = Change.REFUSED
            return
        if held.went:
            held.allowed = 2 * held.allowed
        held.probe_at = now

    # What the table says

    def take(self, found: dict[str, Suspension], now: float) -> bool:
        """What all relays hold, as the table has it; True if types have opened."""
        for type, theirs in list(found.items()):
            stale = NOT_PARKED if theirs.parks else NOT_PROBED
            if now > theirs.probe_at + stale and type not in self._types:
                # Nothing of it is pending any more, or its relay would have probed.
                del found[type]
                self.changes[type] = Change.OPENED
        opened = [
            type
            for type, held in self._types.items()
            if type not in found and type not in self.changes and not held.probing
        ]
        for type in opened:
            del self._types[type]
        for type, theirs in found.items():
            if self.changes.get(type) is Change.OPENED:
                continue
            ours = self._types.get(type)
            if ours is None:
                self._types[type] = theirs
            elif type not in self.changes and not (ours.probing or ours.went):
                opened += [type] if theirs.parks and not ours.parks else []
                theirs.probe_at = max(theirs.probe_at, ours.probe_at)
                self._types[type] = theirs
        self._leave_out()
        return bool(opened)

    def pause(
        self, types: Iterable[str], keys: Iterable[str], everything: bool
    ) -> bool:
        """What is paused; True if something no longer is."""
        paused, held_keys = frozenset(types), frozenset(keys)
        is_less = bool(self._paused - paused or self.keys - held_keys) or (
            self.everything and not everything
        )
        self._paused, self.keys, self.everything = paused, held_keys, everything
        self._leave_out()
        return is_less

    def _leave_out(self) -> None:
        held = {type for type, held in self._types.items() if not held.parks}
        self.types = self._paused | held
