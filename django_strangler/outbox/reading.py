"""
What a look into the outbox finds. When one is due, ``alarm`` tells.

As a rule a look starts from the lowest pending id: then one statement finds what may be
sent, in order. Where much would have to be skipped each time (held types, what waits
behind them, a table full of dead rows), looks make progress instead, by ``rounds``.
What is found so may follow an event that is pending elsewhere, so the statement tells
with each what it follows. What holds of any look:

- It takes the oldest pending events of a key and those right behind them, and no other.
  What the backlog has of the key counts as pending. Of a key that is left out, it takes
  nothing.
- What it does not take is found again: by the next look, unless this one has seen all;
  through ``freed``, if its key had one under way or was held; by the next round, if its
  type was held; from the lowest id on, if the backlog has forgotten some.
- What it takes out of ``freed``, it reads. If the database fails at that, the relay
  makes the backlog forget.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from .alarm import Alarm, WakefulAlarm
from .rounds import PACE, Pace, Rounds
from .rows import Due, Reach
from .work import Work


class Reading:
    """Fills the backlog from the store."""

    def __init__(self, work: Work, pace: Pace = PACE) -> None:
        self._work, self._pace = work, pace
        self.found = False
        interval = work.settings.relay.poll_interval
        self._due = WakefulAlarm(work.clock, interval)
        self._delayed = Alarm(work.clock, interval)
        self._rounds = Rounds(work.clock, pace)
        self._gives_way = False
        self._limit = 4 * work.settings.relay.batch_size
        self._parked_hold = False  # And there are parked events.

    @property
    def is_awake(self) -> bool:
        """Whether something has just come, so that more may."""
        return self._due.is_awake

    @property
    def is_done(self) -> bool:
        """Whether everything that was due when it was looked for has been read."""
        return not (self._due.more or self._delayed.more or self._is_left)

    @property
    def pause(self) -> float:
        """For how long there is nothing to look for."""
        if self._work.held.everything:
            return self._work.settings.relay.poll_interval
        return max(0.0, min(self._due_at, self._delayed.at) - self._work.clock())

    @property
    def _is_left(self) -> bool:
        """Whether the backlog knows of something that it has left in the table."""
        return bool(self._work.backlog.freed) or self._work.backlog.has_forgotten

    @property
    def _due_at(self) -> float:
        under_way = bool(self._work.backlog.unmarked)
        return self._due.at(more=self._is_left, under_way=under_way)

    def poll_no_more(self) -> None:
        """Do not go on for ever, but come to an end."""
        self._due.polls = self._delayed.polls = False

    def wake(self) -> None:
        """A publisher tells of something."""
        self._due.wake()

    def look_again(self) -> None:
        """The table may hold events that were not there, or not ours, before."""
        self._due.more = self._delayed.more = True
        self._rounds.start_again()

    def read(self) -> bool:
        """Read what is due, if it is time to; False if nothing came of it."""
        work, backlog, now = self._work, self._work.backlog, self._work.clock()
        backlog.release(now)
        if backlog.has_forgotten:
            backlog.has_forgotten = False
            self.look_again()
        is_full = backlog.ready >= work.settings.relay.batch_size
        if is_full or not self._lanes or work.held.everything:
            return False
        found = 0
        if now >= self._due_at:
            found = self._look()
            self._due.looked(now, found=found > 0, under_way=bool(backlog.unmarked))
        if now >= self._delayed.at and (delayed := self._look_for_delayed()):
            found += delayed
            self._due.found()
        self.found |= found > 0
        return found > 0

    # What is due

    def _look(self) -> int:
        work, rounds = self._work, self._rounds
        self._parked_hold = work.settings.parked_holds_key and work.store.has_parked()
        if not (rounds.needed or work.held.types or self._parked_hold):
            return self._look_at_all()
        rounds.needed = True
        found = self._follow_the_freed()
        if rounds.rests:
            self._due.more = False
            return found + self._look_at_the_fresh()
        if not rounds.has_begun:
            rounds.begin(work.store.edge(0, 1)[1])
        elif rounds.after:
            found += self._look_at_the_fresh()
            self._gives_way = bool(found) and not self._gives_way
            if self._gives_way:  # That is sent first, and the round goes on then.
                self._due.more = True
                return found
        return found + self._go_on_with_the_round()

    def _look_at_all(self) -> int:
        """From the lowest id on, in one statement."""
        began, rounds = self._work.clock(), self._rounds
        self._work.backlog.freed.clear()
        due = self._work.store.read(self._reach, self._limit)
        taken = self._add(due)
        self._due.more = more = len(due) == self._limit
        is_dear = rounds.saw_all(self._work.clock() - began, len(due))
        if is_dear or (more and 4 * taken < self._limit):
            self._due.more = rounds.needed = True
            rounds.after = due[-1].event.row if more else 0
        return taken

    def _go_on_with_the_round(self) -> int:
        began = self._work.clock()
        taken, upto, is_last = self._look_at_part(self._rounds.after)
        self._rounds.went_on(upto, self._work.clock() - began, is_last=is_last)
        self._due.more = not is_last
        return taken

    def _look_at_the_fresh(self) -> int:
        taken, upto, is_last = self._look_at_part(self._rounds.fresh_after)
        self._rounds.saw_fresh(upto, is_last=is_last)
        self._due.more |= not is_last
        return taken

    def _look_at_part(self, after: int) -> tuple[int, int, bool]:
        """What was found, the id up to which it was looked, whether that was all."""
        store, rounds, began = self._work.store, self._rounds, self._work.clock()
        reach = self._reach
        known = sum(row > after for row in reach.without_rows)
        edge, highest = store.edge(after, rounds.part + known)
        upto, is_last = (highest, True) if edge is None else (edge, False)
        due = store.read_part(reach, self._limit, (after, upto)) if upto > after else []
        if is_full := len(due) == self._limit:
            upto, is_last = due[-1].event.row, False
        elif is_last:
            rounds.saw_end(highest)
        taken = self._add(_in_order(due))
        # What may be sent is worth its cost.
        cost = self._work.clock() - began - 2 * self._pace.cheap_row * taken
        rounds.fit(cost, is_last=is_last)
        if is_full:  # The rest of it is examined again.
            rounds.part = min(rounds.part, self._limit)
        return taken, upto, is_last

    def _follow_the_freed(self) -> int:
        """Of a key that has come free, the next events; rows that were held."""
        work, found = self._work, 0
        freed, limit = work.backlog.freed, work.settings.relay.batch_size
        some = {freed.pop() for _ in range(min(len(freed), limit))}
        if keys := [each for each in some if isinstance(each, str)]:
            due = work.store.read_keys(self._reach, keys, self._limit)
            found += self._add(due, work.held.types)
            if len(due) == self._limit:
                # Of those that were not reached, more has to be read.
                read = {each.event.order_key for each in due}
                work.backlog.crowd(read)
                freed.update(set(keys) - read)
        if rows := [each for each in some if isinstance(each, int)]:
            due = work.store.read_rows(self._lanes, rows)
            found += self._add(due, work.held.types)
        return found

    # What was delayed

    def _look_for_delayed(self) -> int:
        began, limit = self._work.clock(), self._work.settings.relay.batch_size
        due = self._work.store.read_delayed(self._reach, limit)
        # Those that are left out are stepped over each time.
        is_dear = self._pace.is_dear(self._work.clock() - began, len(due))
        self._delayed.looked(began, more=len(due) == limit, is_dear=is_dear)
        return self._add(due)

    # Both

    @property
    def _lanes(self) -> Collection[int]:
        return self._work.leases.lanes - self._work.leases.leaving

    @property
    def _reach(self) -> Reach:
        backlog, held = self._work.backlog, self._work.held
        keys = [*held.keys, *backlog.left_out_keys()]
        return Reach(
            self._lanes,
            backlog.known_rows(),
            keys if len(keys) <= self._pace.keys_left_out else (),
            held.types,
            self._parked_hold,
        )

    def _add(self, due: Iterable[Due], without_types: Collection[str] = ()) -> int:
        if paused := self._work.held.keys:
            due = [each for each in due if each.event.order_key not in paused]
        return self._work.backlog.add(due, self._work.clock(), without_types)


def _in_order(due: Iterable[Due]) -> Iterator[Due]:
    """Those of a part that follow nothing, or one that goes before them."""
    allowed: set[int] = set()
    for each in due:
        if each.older is None or each.older in allowed:
            allowed.add(each.event.row)
            yield each
