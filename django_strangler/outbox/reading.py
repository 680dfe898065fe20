"""When to look into the outbox: at once while there is more, else ever less often."""

from __future__ import annotations

from collections.abc import Callable

from django_strangler import conf

from .backlog import Backlog
from .leases import Leases
from .store import Store

LOOK_PAUSE = 0.08  # The longest pause between two looks while events are under way.
READ_PAUSE = 0.01  # Between two reads, while there is still something to send.
AWAKE = 1.0  # After NOTIFY: how long to look every READ_PAUSE.
# Of keys held back. A queue that is full for hours could hold back any number of them;
# from here on their types are not read, so that all the others go on.
HELD_AT_MOST = 20_000


class Reading:
    """Fills the backlog from the store."""

    def __init__(
        self,
        backlog: Backlog,
        store: Store,
        leases: Leases,
        settings: conf.Settings,
        monotonic: Callable[[], float],
    ) -> None:
        self._backlog, self._store, self._leases = backlog, store, leases
        self._settings, self._monotonic = settings, monotonic
        self.polls = True  # False: do not go on for ever, but come to an end.
        self.found = False
        self.has_more_delayed = True
        self.last_at = float("-inf")
        self._pause = READ_PAUSE
        self._poll_at = float("-inf")
        self._awake_until = float("-inf")

    @property
    def is_awake(self) -> bool:
        """Whether something has just come, so that more may."""
        return self._monotonic() < self._awake_until

    @property
    def pause(self) -> float:
        """For how long there is nothing to look for."""
        return READ_PAUSE if self.is_awake else self._poll_at - self._monotonic()

    def wake(self) -> None:
        """Look often from now on."""
        self._awake_until = self._monotonic() + AWAKE

    def look_again(self) -> None:
        """The table may hold events that were not there, or not ours, before."""
        self._backlog.has_more = self.has_more_delayed = True

    def read(self) -> bool:
        """Read what is due, if it is time to; False if nothing came of it."""
        backlog, now, batch = (
            self._backlog,
            self._monotonic(),
            self._settings.batch_size,
        )
        backlog.release(now)
        if backlog.ready >= batch or backlog.held >= 2 * HELD_AT_MOST:
            return False
        without_types = backlog.types_held() if backlog.held >= HELD_AT_MOST else set()
        pause = READ_PAUSE if backlog.has_more else self._pause
        if now < self.last_at + pause and backlog.unmarked:
            return False
        polls = self.polls and now >= self._poll_at
        looks = polls or (self.polls and self.is_awake) or backlog.has_more
        lanes = self._leases.lanes - self._leases.leaving
        if not lanes or not (looks or self.has_more_delayed):
            return False
        self.last_at = now
        known = backlog.known_rows()
        found = 0
        if looks:
            limit = 4 * batch
            due = self._store.read(
                lanes,
                limit,
                without_rows=known,
                without_keys=backlog.left_out_keys(),
                without_types=without_types,
                parked_hold=self._settings.parked_holds_key,
            )
            backlog.add(due, now)
            found += len(due)
            backlog.has_more = len(due) == limit
        if polls or self.has_more_delayed:
            due = self._store.read_delayed(
                lanes, batch, without_rows=known, without_types=without_types
            )
            backlog.add(due, now)
            found += len(due)
            self.has_more_delayed = len(due) == batch
        if polls:
            self._poll_at = now + self._settings.poll_interval
        if found:
            self.found = True
            self.wake()
        # With events under way, looks in vain become rarer.
        self._pause = READ_PAUSE if found else min(2 * self._pause, LOOK_PAUSE)
        return found > 0
