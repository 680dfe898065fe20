"""When is looked: while a publisher is quiet, after a poll, and what a look costs."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import Any, cast

from django_strangler import conf
from django_strangler.outbox import alarm, notify
from django_strangler.outbox.backlog import Backlog
from django_strangler.outbox.held import Held
from django_strangler.outbox.reading import Reading
from django_strangler.outbox.rounds import PACE, Pace
from django_strangler.outbox.rows import Due
from django_strangler.outbox.work import Work
from tests.relay.test_histories import Lanes, ModelStore, Row


class SlowStore(ModelStore):
    """Looks take their time."""

    cost = 0.0
    row = 0.0
    below = 0.0  # To step over what is dead before the lowest pending row.
    looks = parts = 0

    def read(self, *args: Any, **options: Any) -> list[Due]:
        found = super().read(*args, **options)
        self.looks += 1
        cast(World, self.clock).now += self.cost + self.below
        return found

    def edge(self, after: int, count: int) -> tuple[int | None, int]:
        cast(World, self.clock).now += 0.0 if after else self.below
        return super().edge(after, count)

    def read_part(self, *args: Any, **options: Any) -> list[Due]:
        found = super().read_part(*args, **options)
        self.parts += 1
        cast(World, self.clock).now += self.cost + self.row * len(found)
        return found

    def read_delayed(self, *args: Any, **options: Any) -> list[Due]:
        cast(World, self.clock).delayed_at.append(self.clock())
        return []


class World:
    """A reading of a model, and the clock."""

    def __init__(self, poll_interval: float = 90.0, pace: Pace = PACE) -> None:
        self.now = 100.0
        self.delayed_at: list[float] = []
        self.backlog = Backlog(capacity=100)
        self.held = Held()
        self.store = SlowStore({}, self)
        self.reading = Reading(
            Work(
                backlog=self.backlog,
                held=self.held,
                store=cast(Any, self.store),
                leases=cast(Any, Lanes()),
                broker=cast(Any, None),
                settings=conf.Settings(
                    relay=conf.RelaySettings(poll_interval=poll_interval, batch_size=50)
                ),
                stop=threading.Event(),
                clock=self,
            ),
            pace,
        )
        self.go_on(0.5)

    def __call__(self) -> float:
        return self.now

    def publish(self, key: str = "", type: str = "kept.well") -> Row:
        row = Row(len(self.store.rows) + 1, key, type)
        self.store.rows[row.id] = row
        return row

    def go_on(self, seconds: float) -> None:
        """As the relay does; each event is confirmed at once."""
        until = self.now + seconds
        while self.now < until:
            self.reading.read()
            for event in self.backlog.take(100, 10**9):
                self.backlog.land(event.row)
                self.backlog.finish(event)
                self.store.rows[event.row].marked = True
            self.now = min(self.now + max(0.001, self.reading.pause), until)


def test_what_is_published_while_nobody_tells_is_found_whatever_a_look_costs() -> None:
    for cost in (0.002, 0.009, 0.2):
        world = World()
        world.store.cost = cost
        told = world.publish()
        world.reading.wake()
        # A look that goes on until then does not show it.
        world.go_on(notify.QUIET - 0.001)
        untold = world.publish()

        world.go_on(2.0)

        assert told.marked
        assert untold.marked, cost


def test_who_never_tells_is_looked_for_a_second() -> None:
    world = World(poll_interval=1.0)
    world.publish()
    world.go_on(0.51)
    world.go_on(alarm.AWAKE - 0.05)
    row = world.publish()

    world.go_on(0.03)

    assert row.marked


def test_after_what_was_told_the_looks_soon_end() -> None:
    world = World()
    before = world.store.looks
    world.publish()
    world.reading.wake()

    world.go_on(5.0)

    assert world.store.looks - before <= 2 * alarm.TOLD / alarm.READ_PAUSE + 2


def test_delayed_events_are_looked_for_at_every_poll() -> None:
    world = World(poll_interval=1.0)
    for seconds in (0.43, 0.6, 1.3, 0.93):
        world.go_on(seconds)
        world.reading.wake()  # A look for what is due now puts the next poll off.
    world.go_on(3.0)

    at = world.delayed_at
    assert max(b - a for a, b in pairwise(at)) <= 1.1


def test_a_look_reads_less_at_once_where_it_has_to_throw_away_what_it_reads() -> None:
    pace = Pace(part=200, least=20, part_takes=0.001)
    for key, is_less in (("hot", True), ("", False)):
        world = World(pace=pace)
        world.store.row = pace.cheap_row
        world.held.refuse("made.ill", 0, "nacked", "", world.now)
        world.publish("hot", type="made.ill")
        for _ in range(400):
            world.publish(key)
        world.reading.look_again()

        world.go_on(1.0)

        # What follows one that is held is found, but may not be sent.
        assert (world.reading._rounds.part < 100) is is_less
        assert all(row.marked for row in world.store.rows.values() if not row.key)


def test_a_part_is_no_more_than_a_look_can_take() -> None:
    world = World(pace=Pace(part=2000))
    world.held.refuse("made.ill", 0, "nacked", "", world.now)
    for _ in range(1000):
        world.publish()
    world.reading.look_again()

    world.go_on(0.001)
    assert world.reading._rounds.part == 200  # Four batches.

    world.go_on(1.0)
    assert all(row.marked for row in world.store.rows.values())


def test_beside_a_round_one_statement_tells_that_nothing_is_fresh() -> None:
    world = World(pace=Pace(part=100))
    world.held.refuse("made.ill", 0, "nacked", "", world.now)
    for _ in range(1000):
        world.publish(type="made.ill")
    world.reading.look_again()
    before = world.store.parts

    world.go_on(0.5)

    assert world.store.parts - before <= 11


def test_a_table_full_of_dead_rows_is_stepped_over_once_a_round() -> None:
    world = World()
    world.store.below = 0.1
    before = world.store.looks
    for _ in range(50):  # Each look finds something.
        world.publish()
        world.reading.wake()
        world.go_on(0.05)
    world.go_on(1.0)

    assert world.store.looks - before <= PACE.twice
    assert all(row.marked for row in world.store.rows.values())
