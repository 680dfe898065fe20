"""When is looked: while a publisher is quiet, after a poll, and what a look costs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

from django_strangler import conf
from django_strangler.outbox import reading, wakeup
from django_strangler.outbox.backlog import Backlog
from django_strangler.outbox.held import Held
from django_strangler.outbox.reading import Reading
from django_strangler.outbox.rows import Due
from django_strangler.outbox.work import Work
from tests.relay.test_histories import Lanes, ModelStore, Row


class SlowStore(ModelStore):
    """Looks take their time."""

    cost = 0.0
    looks = 0

    def read(self, *args: Any, **options: Any) -> list[Due]:
        found = super().read(*args, **options)
        self.looks += 1
        cast(World, self.clock).now += self.cost
        return found


class World:
    """A reading of a model, and the clock."""

    def __init__(self, cost: float = 0.0, poll_interval: float = 90.0) -> None:
        self.now = 100.0
        self.backlog = Backlog(capacity=8)
        self.store = SlowStore({}, self)
        self.store.cost = cost
        self.reading = Reading(
            Work(
                backlog=self.backlog,
                held=Held(),
                store=cast(Any, self.store),
                leases=cast(Any, Lanes()),
                broker=cast(Any, None),
                settings=conf.Settings(
                    relay=conf.RelaySettings(poll_interval=poll_interval)
                ),
                stop=threading.Event(),
                clock=self,
            )
        )
        self.reading.read()
        self.now += 10.0

    def __call__(self) -> float:
        return self.now

    def publish(self) -> int:
        row = Row(len(self.store.rows) + 1, "")
        self.store.rows[row.id] = row
        return row.id

    def go_on(self, until: float, what: Callable[[], object] = lambda: None) -> float:
        """As the relay does, each event confirmed at once; says when the last came."""
        came = self.now
        while self.now < until:
            what()
            self.reading.read()
            for event in self.backlog.take(100, 10**9):
                came = self.now
                self.backlog.land(event.row)
                self.backlog.finish(event)
                self.store.rows[event.row].marked = True
            self.now += max(0.001, min(self.reading.pause, 0.002))
        return came


def test_what_is_published_while_nobody_tells_is_found_whatever_a_look_costs() -> None:
    for cost in (0.002, 0.009, 0.2):
        world = World(cost)
        told = world.now
        world.publish()
        world.reading.wake()

        def publish_untold(told: float = told, world: World = world) -> None:
            quiet = told + wakeup.QUIET
            if world.now >= quiet - 0.001 and len(world.store.rows) == 1:
                # Committed before the quiet was over, seen by no look that began then.
                world.publish()

        world.go_on(told + 0.001, publish_untold)
        publish_untold()
        world.go_on(told + 5.0, publish_untold)

        assert len(world.store.rows) == 2
        assert all(row.marked for row in world.store.rows.values()), cost


def test_who_tells_nobody_is_looked_for_a_second() -> None:
    world = World(poll_interval=1.0)
    world.publish()
    came = world.go_on(world.now + 0.1)

    world.now = came + reading.AWAKE - 0.05
    world.publish()
    published = world.now

    assert world.go_on(world.now + 0.02) - published < 0.02
    assert all(row.marked for row in world.store.rows.values())


def test_after_what_was_told_the_looks_soon_end() -> None:
    world = World()
    world.publish()
    world.reading.wake()

    world.go_on(world.now + 1.0)

    assert world.store.looks <= 1 + reading.TOLD / reading.READ_PAUSE + 1
