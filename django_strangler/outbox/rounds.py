"""
Where looks begin and end when much of what is pending cannot go.

A round examines all that is pending, from the lowest id to the highest, a part at each
look, and then rests for a multiple of what it cost. What comes meanwhile is fresh, and
found beside it. Nothing here knows a database. What holds:

- A round leaves no gap: each part begins where what was examined has ended.
- Nor is there one between rounds and what is fresh: that begins with the first round,
  and above an id that was the highest when a look had come to the end. So what is not
  above it has been looked at, or had not committed.
- That was ``late`` seconds ago or more. So what is not fresh when it commits has had
  its id for that long, or since before the first round; it waits for the next one.
- ``start_again`` forgets the rest, and only of the round: what is fresh stays so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .alarm import REST


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a look may cost; times in seconds."""

    part: int = 5000  # Pending rows that one look examines,
    least: int = 500  # or fewer, down to this,
    keys_left_out: int = 2000  # By name; of more, what is read is thrown away.
    part_takes: float = 0.01  # where they would take longer.
    cheap: float = 0.03  # A look from the lowest id on that costs more,
    cheap_row: float = 0.00002  # and this for each row, has stepped over too much.
    twice: int = 2  # So often in a row.
    late: float = 5.0  # What commits later after its INSERT waits for a round.

    def is_dear(self, cost: float, rows: int) -> bool:
        """Whether a look that found so many rows has stepped over too much."""
        return cost > self.cheap + self.cheap_row * rows


PACE = Pace()


class Rounds:
    """How far the round has come, and above which id all is fresh."""

    def __init__(self, clock: Callable[[], float], pace: Pace) -> None:
        self.needed = False
        self.after = 0  # So far the round has come.
        self.part = pace.part
        self._clock, self._pace = clock, pace
        self._dear = 0  # Looks in a row from the lowest id on.
        self._cost, self._parts = 0.0, 0
        self._rests_until = float("-inf")
        self._seen: deque[tuple[float, int]] = deque()  # When which id was the highest.
        self._fresh_upto = 0  # Between two parts of what is fresh.

    def saw_all(self, cost: float, rows: int) -> bool:
        """A look from the lowest id on; True if these step over too much."""
        self._seen.clear()
        self._fresh_upto = 0
        self._dear = self._dear + 1 if self._pace.is_dear(cost, rows) else 0
        return self._dear >= self._pace.twice

    # The round

    @property
    def rests(self) -> bool:
        """Whether the last one is through, and the next is not to begin yet."""
        return not self.after and self._clock() < self._rests_until

    def start_again(self) -> None:
        """From the lowest id on, now."""
        self._rests_until, self.after = float("-inf"), 0
        self._cost, self._parts = 0.0, 0

    def went_on(self, upto: int, cost: float, *, is_last: bool) -> None:
        """One part more."""
        self._cost += cost
        self._parts += 1
        self.after = upto
        if is_last:
            # With nothing left to step over, from the lowest on again.
            self.needed = self._parts > 1 or cost >= self._pace.cheap
            rest = REST * self._cost if self.needed else 0.0
            self.start_again()
            self._rests_until, self._dear = self._clock() + rest, 0

    def fit(self, cost: float, *, is_last: bool) -> None:
        """A part took so long: so that it takes about as long on any database."""
        pace = self._pace
        if cost > pace.part_takes:
            self.part = max(pace.least, self.part // 2)
        elif not is_last and cost < pace.part_takes / 2:
            self.part = min(pace.part, 2 * self.part)

    # What is fresh

    @property
    def has_begun(self) -> bool:
        """Whether it is known above which id all is fresh."""
        return bool(self._seen)

    @property
    def fresh_after(self) -> int:
        """Above it is what the next look for what is fresh examines."""
        self._settle()
        return self._fresh_upto or self._seen[0][1]

    def begin(self, highest: int) -> None:
        """What comes during the first round is fresh."""
        self._seen.append((self._clock() - self._pace.late, highest))

    def saw_fresh(self, upto: int, *, is_last: bool) -> None:
        """One part of it more."""
        self._fresh_upto = 0 if is_last else upto

    def saw_end(self, highest: int) -> None:
        """A look has come to the end: what had committed by then is known."""
        if self._clock() >= self._seen[-1][0] + self._pace.late / 10:
            self._settle()  # Short rounds alone would never ask what is fresh.
            self._seen.append((self._clock(), highest))

    def _settle(self) -> None:
        settled = self._clock() - self._pace.late
        while len(self._seen) > 1 and self._seen[1][0] <= settled:
            self._seen.popleft()
