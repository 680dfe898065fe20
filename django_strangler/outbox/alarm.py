"""
When to look into the outbox: at once while there is more, else ever less often.

There are clocks here, and no database. What is due and what was delayed are looked for
apart, each by an alarm of its own. What holds, whatever looks cost and find:

- A poll comes. Only a look of the same kind puts it off, and by one interval.
- A look shows what had committed when it began, or says that there is more. So what
  commits after that is what alarms are for.
- A publisher that has told of an event tells nobody of the next ones for a moment. So
  ``wake`` puts a poll after that moment, and no look before it counts as that poll.
- Not everybody tells. So after something was found, whether told or not, looks follow
  each other closely for a while.
- While events are under way, looks keep a distance, which grows with what they cost.
  With none under way, neither what is known to be there nor a poll waits for anything.
"""

from __future__ import annotations

from collections.abc import Callable

LOOK_PAUSE = 0.08  # The longest pause between two looks while events are under way.
READ_PAUSE = 0.01  # Between two reads, while there is still something to send.
AWAKE = 1.0  # After something was found: how long to look often,
TOLD = 0.05  # and where NOTIFY told of it; longer than who told is QUIET.
REST = 6.0  # After a look: so many times what it cost.

NEVER = float("inf")


class Alarm:
    """Rings at every poll, and at once while there is more."""

    def __init__(self, clock: Callable[[], float], interval: float) -> None:
        self.polls = True  # False: do not go on for ever, but come to an end.
        self.more = True  # The last look did not come to its end.
        self._clock, self._interval = clock, interval
        self._poll_at = self._rests_until = -NEVER

    @property
    def at(self) -> float:
        """From when on a look is due."""
        polls_at = self._poll_at if self.polls else NEVER
        return max(self._rests_until, -NEVER if self.more else polls_at)

    def looked(self, began: float, *, more: bool, is_dear: bool) -> None:
        """One look has ended."""
        self.more = more
        self._poll_at = began + self._interval
        now = self._clock()
        self._rests_until = now + REST * (now - began) if is_dear else -NEVER


class WakefulAlarm:
    """For what is due: publishers wake it, and what is found keeps it awake."""

    def __init__(self, clock: Callable[[], float], interval: float) -> None:
        self.polls = self.more = True
        self._clock, self._interval = clock, interval
        self._poll_at = self._looked_at = self._awake_until = -NEVER
        self._is_told = False  # That the poll is to come, and not before its time.
        self._pause = READ_PAUSE

    @property
    def is_awake(self) -> bool:
        """Whether something has just come, so that more may."""
        return self._clock() < self._awake_until

    def at(self, *, more: bool, under_way: bool) -> float:
        """From when on a look is due."""
        more |= self.more
        apart = self._looked_at + (READ_PAUSE if more else self._pause)
        polls_at = self._poll_at if self.polls else NEVER
        wanted = -NEVER if more else polls_at
        is_awake = self.polls and apart < self._awake_until
        return min(
            max(wanted, apart) if under_way else wanted, apart if is_awake else NEVER
        )

    def wake(self) -> None:
        """A publisher tells of something, and for a moment of nothing more."""
        self._poll_at, self._is_told = self._clock() + TOLD, True
        self._stay_awake(TOLD)

    def looked(self, began: float, *, found: bool, under_way: bool) -> None:
        """One look has ended."""
        self._looked_at = began
        if began >= self._poll_at or not self._is_told:
            self._poll_at, self._is_told = began + self._interval, False
        if found:
            self.found()
            return
        # What is looked for in vain, is looked for ever less often.
        slower = min(2 * self._pause, LOOK_PAUSE) if under_way else READ_PAUSE
        self._pause = max(slower, REST * (self._clock() - began))

    def found(self) -> None:
        """Of what else its publisher has, nobody may tell."""
        self._stay_awake(TOLD if self._is_told else AWAKE)

    def _stay_awake(self, seconds: float) -> None:
        self._awake_until = max(self._awake_until, self._clock() + seconds)
        self._pause = READ_PAUSE
