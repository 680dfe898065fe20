"""
When and where to look into the outbox.

At once while there is more, else ever less often. As a rule from the lowest pending id
on: then one statement finds what may be sent, in order. Where much would have to be
skipped each time (held types, what waits behind them, a table full of dead rows), the
looks make progress instead: each examines a bounded part and goes on where the last one
ended. What is found so may follow an event that is pending elsewhere, so the statement
tells with each what it follows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from .rows import Due
from .work import Work

LOOK_PAUSE = 0.08  # The longest pause between two looks while events are under way.
READ_PAUSE = 0.01  # Between two reads, while there is still something to send.
AWAKE = 1.0  # After something was found: how long to look often,
TOLD = 0.05  # and where NOTIFY told of it; longer than who told is QUIET.


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a look may cost, and how long it is rested for; times in seconds."""

    part: int = 5000  # Pending rows that one look examines,
    least: int = 500  # or fewer, down to this,
    keys_left_out: int = 2000  # By name; of more, what is read is thrown away.
    part_takes: float = 0.01  # where they would take longer.
    cheap: float = 0.03  # A look from the lowest id on that costs more,
    cheap_row: float = 0.00002  # and this for each row, has stepped over too much.
    twice: int = 2  # So often in a row.
    rest: float = 6.0  # Of what a round cost, until the next.
    late: float = 5.0  # What commits later after its INSERT waits for a round.


PACE = Pace()


class Reading:
    """Fills the backlog from the store."""

    def __init__(self, work: Work, pace: Pace = PACE) -> None:
        self._work, self._pace = work, pace
        self.polls = True  # False: do not go on for ever, but come to an end.
        self.found = False
        self.has_more = self.has_more_delayed = True
        self._last_at = self._poll_at = float("-inf")
        self._delayed_at = self._poll_delayed_at = float("-inf")
        self._awake_until = self._told_until = float("-inf")
        self._pause = READ_PAUSE
        # A round: everything from the lowest id to the highest, in parts.
        self._in_parts = False
        self._slow = 0  # Looks in a row.
        self._part = pace.part
        self._round_at = float("-inf")  # When the next may begin.
        self._after = 0  # So far the round has come;
        self._cost, self._parts = 0.0, 0  # and what it has cost.
        self._gives_way = False
        # And beside rounds, what is fresh: highest ids, and when they were that.
        self._seen: deque[tuple[float, int]] = deque()
        self._fresh_after = 0

    @property
    def is_awake(self) -> bool:
        """Whether something has just come, so that more may."""
        return self._work.clock() < self._awake_until

    @property
    def is_done(self) -> bool:
        """Whether everything that was due when it was looked for has been read."""
        backlog = self._work.backlog
        more = self.has_more or self.has_more_delayed or backlog.freed
        return not (more or backlog.has_forgotten)

    @property
    def pause(self) -> float:
        """For how long there is nothing to look for."""
        now = self._work.clock()
        if self._work.held.everything:
            return self._work.settings.relay.poll_interval
        if not self.is_done:
            return READ_PAUSE
        soon = self._last_at + self._pause if self.is_awake else float("inf")
        return min(soon, self._poll_at, self._poll_delayed_at) - now

    def wake(self) -> None:
        """
        A publisher tells of something, and for a moment of nothing more.

        So one look comes after that moment, whatever the looks before it cost.
        """
        self._told_until = self._poll_at = self._work.clock() + TOLD
        self._look_often(TOLD)

    def _look_often(self, seconds: float) -> None:
        self._awake_until = max(self._awake_until, self._work.clock() + seconds)
        self._pause = READ_PAUSE

    def look_again(self) -> None:
        """The table may hold events that were not there, or not ours, before."""
        self.has_more = self.has_more_delayed = True
        self._round_at, self._after = float("-inf"), 0

    def read(self) -> bool:
        """Read what is due, if it is time to; False if nothing came of it."""
        backlog, held, now = self._work.backlog, self._work.held, self._work.clock()
        backlog.release(now)
        if backlog.has_forgotten:
            backlog.has_forgotten = False
            self.look_again()
        lanes = self._work.leases.lanes - self._work.leases.leaving
        if backlog.ready >= self._work.settings.relay.batch_size or not lanes:
            return False
        if held.everything:
            return False
        polls = self.polls and self._poll_at <= now
        # A look for what is due now is none for what was delayed.
        polls_delayed = self.polls and self._poll_delayed_at <= now
        has_more = self.has_more or bool(backlog.freed)
        if now < self._last_at + (READ_PAUSE if has_more else self._pause) and (
            backlog.unmarked or not (has_more or polls or polls_delayed)
        ):
            return False
        looks = polls or has_more or (self.polls and self.is_awake)
        if not (looks or polls_delayed or self.has_more_delayed):
            return False
        self._last_at = now
        found = self._look(lanes, now) if looks else 0
        if (polls_delayed or self.has_more_delayed) and now >= self._delayed_at:
            found += self._look_for_delayed(lanes, now)
        cost = self._work.clock() - now
        if looks and now >= self._told_until:
            # A look is as good as a poll.
            self._poll_at = now + self._work.settings.relay.poll_interval
        if found:
            self.found = True
            # Not everybody tells: of what else this one publishes, nobody may.
            self._look_often(TOLD if now < self._told_until else AWAKE)
        # What is looked for in vain, is looked for ever less often.
        slower = min(2 * self._pause, LOOK_PAUSE) if backlog.unmarked else READ_PAUSE
        self._pause = READ_PAUSE if found else max(slower, self._pace.rest * cost)
        return found > 0

    def _look(self, lanes: Collection[int], now: float) -> int:
        work = self._work
        parked_hold = work.settings.parked_holds_key and work.store.has_parked()
        if not (self._in_parts or work.held.types or parked_hold):
            return self._look_at_all(lanes, now)
        self._in_parts = True
        found = self._follow_the_freed(lanes, now, parked_hold=parked_hold)
        if now < self._round_at and not self._after:
            self.has_more = False
            return found + self._look_at_the_fresh(lanes, now, parked_hold=parked_hold)
        if not self._seen:  # What comes during the first round is fresh.
            highest = work.store.edge(0, 1)[1]
            self._seen.append((now - self._pace.late, highest))
        elif self._after:
            found += self._look_at_the_fresh(lanes, now, parked_hold=parked_hold)
            self._gives_way = bool(found) and not self._gives_way
            if self._gives_way:  # That is sent first, and the round goes on then.
                self.has_more = True
                return found
        return found + self._go_on_with_the_round(lanes, now, parked_hold=parked_hold)

    def _look_at_all(self, lanes: Collection[int], now: float) -> int:
        """From the lowest id on, in one statement."""
        work, pace = self._work, self._pace
        limit = 4 * work.settings.relay.batch_size
        work.backlog.freed.clear()
        due = work.store.read(
            lanes,
            limit,
            without_rows=work.backlog.known_rows(),
            without_keys=self._keys_left_out(),
        )
        taken = self._add(due, now)
        self.has_more = len(due) == limit
        is_slow = work.clock() - now > pace.cheap + pace.cheap_row * len(due)
        self._slow = self._slow + 1 if is_slow else 0
        if self._slow >= pace.twice or (self.has_more and 4 * taken < limit):
            self._in_parts = self.has_more = True
            self._after = due[-1].event.row if self.has_more and due else 0
        return taken

    def _go_on_with_the_round(
        self, lanes: Collection[int], now: float, *, parked_hold: bool
    ) -> int:
        started = self._work.clock()
        taken, upto, is_last = self._look_at_part(
            lanes, now, self._after, parked_hold=parked_hold
        )
        cost = self._work.clock() - started
        self._cost += cost
        self._parts += 1
        self._after = upto
        self.has_more = not is_last
        if not is_last:
            return taken
        # With nothing left to step over, from the lowest on again.
        is_short = self._parts == 1 and cost < self._pace.cheap
        self._in_parts = bool(self._work.held.types) or not is_short
        rest = 0.0 if is_short else self._pace.rest * self._cost
        self._round_at = self._work.clock() + rest
        self._after, self._cost, self._parts, self._slow = 0, 0.0, 0, 0
        if not self._in_parts:
            self._seen.clear()
            self._fresh_after = 0
        return taken

    def _look_at_the_fresh(
        self, lanes: Collection[int], now: float, *, parked_hold: bool
    ) -> int:
        settled = now - self._pace.late
        while len(self._seen) > 1 and self._seen[1][0] <= settled:
            self._seen.popleft()
        after = self._fresh_after or (self._seen[0][1] if self._seen else 0)
        taken, upto, is_last = self._look_at_part(
            lanes, now, after, parked_hold=parked_hold
        )
        self._fresh_after = 0 if is_last else upto
        self.has_more |= not is_last
        return taken

    def _look_at_part(
        self, lanes: Collection[int], now: float, after: int, *, parked_hold: bool
    ) -> tuple[int, int, bool]:
        """What was found, the id up to which it was looked, whether that was all."""
        work, pace = self._work, self._pace
        known = work.backlog.known_rows()
        limit = 4 * work.settings.relay.batch_size
        started = work.clock()
        edge, highest = work.store.edge(after, self._part + len(known))
        upto, is_last = (highest, True) if edge is None else (edge, False)
        due = work.store.read_part(
            lanes,
            limit,
            (after, upto),
            without_rows=known,
            without_keys=self._keys_left_out(),
            without_types=work.held.types,
            parked_hold=parked_hold,
        )
        if len(due) == limit:
            upto, is_last = due[-1].event.row, False
        elif is_last and now >= self._seen[-1][0] + pace.late / 10:
            self._seen.append((now, highest))
        taken = self._add(_in_order(due), now)
        # So that a look takes about as long on any database, but for what may be sent.
        cost = work.clock() - started - 2 * pace.cheap_row * taken
        if cost > pace.part_takes:
            self._part = max(pace.least, self._part // 2)
        elif not is_last and cost < pace.part_takes / 2:
            self._part = min(pace.part, 2 * self._part)
        return taken, upto, is_last

    def _follow_the_freed(
        self, lanes: Collection[int], now: float, *, parked_hold: bool
    ) -> int:
        """Of a key that has come free, the next events; rows that were held."""
        work, found = self._work, 0
        limit = work.settings.relay.batch_size
        freed = work.backlog.freed
        some = {freed.pop() for _ in range(min(len(freed), limit))}
        if keys := [each for each in some if isinstance(each, str)]:
            due = work.store.read_keys(
                lanes,
                keys,
                4 * limit,
                without_rows=work.backlog.known_rows(),
                parked_hold=parked_hold,
            )
            found += self._add(due, now, work.held.types)
            if len(due) == 4 * limit:
                # Of those that were not reached, more has to be read.
                read = {each.event.order_key for each in due}
                work.backlog.crowd(read)
                freed.update(set(keys) - read)
        if rows := [each for each in some if isinstance(each, int)]:
            due = work.store.read_rows(lanes, rows)
            found += self._add(due, now, work.held.types)
        return found

    def _look_for_delayed(self, lanes: Collection[int], now: float) -> int:
        work, limit = self._work, self._work.settings.relay.batch_size
        started = work.clock()
        due = work.store.read_delayed(
            lanes,
            limit,
            without_rows=work.backlog.known_rows(),
            without_types=work.held.types,
        )
        self.has_more_delayed = len(due) == limit
        self._poll_delayed_at = now + work.settings.relay.poll_interval
        # Those that are left out are stepped over each time.
        cost = work.clock() - started
        if cost > self._pace.cheap + self._pace.cheap_row * len(due):
            self._delayed_at = work.clock() + self._pace.rest * cost
            self._poll_delayed_at = max(self._poll_delayed_at, self._delayed_at)
        return self._add(due, now)

    def _add(
        self, due: Iterable[Due], now: float, without_types: Collection[str] = ()
    ) -> int:
        if paused := self._work.held.keys:
            due = [each for each in due if each.event.order_key not in paused]
        return self._work.backlog.add(due, now, without_types)

    def _keys_left_out(self) -> list[str]:
        keys = [*self._work.held.keys, *self._work.backlog.left_out_keys()]
        return keys if len(keys) <= self._pace.keys_left_out else []


def _in_order(due: Iterable[Due]) -> Iterator[Due]:
    """Those of a part that follow nothing, or one that goes before them."""
    allowed: set[int] = set()
    for each in due:
        if each.older is None or each.older in allowed:
            allowed.add(each.event.row)
            yield each
