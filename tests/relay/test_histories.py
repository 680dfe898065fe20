"""The rules of order and of reading, against a model: random histories of a table."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from django_strangler import conf
from django_strangler.brokers import Outgoing
from django_strangler.outbox.backlog import Backlog
from django_strangler.outbox.held import Held
from django_strangler.outbox.reading import Reading
from django_strangler.outbox.rounds import Pace
from django_strangler.outbox.rows import FOREVER, Due, Reach
from django_strangler.outbox.work import Work
from tests.brokers.factories import outgoing

CAPACITY = 8
LANES = (0, 1)
keys = st.sampled_from(["", "a", "b", "c"])
types = st.sampled_from(["kept.well", "made.ill"])


@dataclass
class Row:
    """A row of the outbox, as the model keeps it."""

    id: int
    key: str
    type: str = "kept.well"
    visible: bool = True  # Its transaction has committed.
    accepted: bool = False  # The broker confirmed it.
    marked: bool = False
    parked: bool = False
    discarded: bool = False
    replayed: bool = False  # Outside the order from then on.
    retry_at: float = 0.0
    size: int = field(default=10)

    @property
    def pending(self) -> bool:
        return self.visible and not self.marked and not self.parked

    @property
    def stops(self) -> bool:
        """Parked, and its key with it, where that is so set."""
        return self.parked and not self.discarded

    @property
    def lane(self) -> int:
        return 0 if self.key in ("", "a") else 1

    def event(self) -> Outgoing:
        event = outgoing(self.id, key=self.key, order_key=self.key, lane=self.lane)
        return event._replace(size=self.size, type=self.type)


class ModelStore:
    """Reads as ``Store`` does, from a dict."""

    def __init__(self, rows: dict[int, Row], clock: Callable[[], float]) -> None:
        self.rows, self.clock = rows, clock

    def due(
        self,
        reach: Reach,
        limit: int,
        wanted: Callable[[Row], bool],
        *,
        parked: bool = False,
    ) -> list[Due]:
        return [
            Due(row.event(), FOREVER if row.parked else row.retry_at - self.clock())
            for row in self.rows.values()
            if (row.pending or (parked and row.stops))
            and row.lane in reach.lanes
            and row.id not in reach.without_rows
            and wanted(row)
        ][:limit]

    def read(self, reach: Reach, limit: int) -> list[Due]:
        return self.due(
            reach,
            limit,
            lambda row: not (row.key and row.key in reach.without_keys),
        )

    def read_part(self, reach: Reach, limit: int, part: tuple[int, int]) -> list[Due]:
        after, upto = part
        found = [
            each._replace(older=self.older(each.event, reach))
            for each in self.due(
                reach,
                10**9,
                lambda row: (
                    not (row.key and row.key in reach.without_keys)
                    and row.type not in reach.without_types
                    and after < row.id <= upto
                ),
            )
        ]
        return [
            each
            for each in found
            if each.older is None
            or (
                each.older > after
                and self.rows[each.older].type not in reach.without_types
            )
        ][:limit]

    def older(self, event: Outgoing, reach: Reach) -> int | None:
        return max(
            (
                row.id
                for row in self.rows.values()
                if (row.pending or (reach.parked_hold and row.stops))
                and row.key
                and row.key == event.order_key
                and row.id < event.row
                and row.id not in reach.without_rows
            ),
            default=None,
        )

    def edge(self, after: int, count: int) -> tuple[int | None, int]:
        above = [row.id for row in self.rows.values() if row.pending and row.id > after]
        highest = max((row.id for row in self.rows.values() if row.visible), default=0)
        return (above[count - 1] if len(above) >= count else None), highest

    def has_parked(self) -> bool:
        return any(row.stops for row in self.rows.values())

    def read_keys(self, reach: Reach, keys: Collection[str], limit: int) -> list[Due]:
        return self.due(
            reach, limit, lambda row: row.key in keys, parked=reach.parked_hold
        )

    def read_rows(self, lanes: Collection[int], rows: Collection[int]) -> list[Due]:
        return self.due(Reach(lanes), len(rows), lambda row: row.id in rows)

    def read_delayed(self, reach: Reach, limit: int) -> list[Due]:
        return []


class Lanes:
    """All of them are ours."""

    lanes = frozenset(LANES)
    leaving: frozenset[int] = frozenset()


class Histories(RuleBasedStateMachine):
    pace = Pace(part=3, least=2)
    parked_holds_key = False

    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog(capacity=CAPACITY, held_at_most=2)
        self.rows: dict[int, Row] = {}
        self.now = 0.0
        self.held = Held()
        self.reading = Reading(
            Work(
                backlog=self.backlog,
                held=self.held,
                store=cast(Any, ModelStore(self.rows, self.clock)),
                leases=cast(Any, Lanes()),
                broker=cast(Any, None),
                settings=conf.Settings(
                    parked_holds_key=self.parked_holds_key,
                    relay=conf.RelaySettings(batch_size=2),
                ),
                stop=threading.Event(),
                clock=self.clock,
            ),
            self.pace,
        )

    def clock(self) -> float:
        return self.now

    # The application

    @rule(
        key=keys,
        type=types,
        count=st.integers(1, 12),
        size=st.sampled_from([1, 10, 50]),
    )
    def publish(self, key: str, type: str, count: int, size: int) -> None:
        if self.locked(key):
            return
        for _ in range(count):
            self.insert(Row(len(self.rows) + 1, key, type, size=size))

    @rule(key=keys, type=types)
    def publish_and_commit_late(self, key: str, type: str) -> None:
        if not self.locked(key):
            self.insert(Row(len(self.rows) + 1, key, type, visible=False))

    @rule()
    def commit(self) -> None:
        for row in self.rows.values():
            if not row.visible:
                row.visible = True
                return

    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        if parked := [row for row in self.rows.values() if row.stops]:
            row = data.draw(st.sampled_from(parked))
            row.parked, row.replayed, row.retry_at = False, True, 0.0

    # The relay

    @rule(seconds=st.sampled_from([0.05, 0.5, 5.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def read(self) -> None:
        self.reading.read()

    @rule()
    def look_again(self) -> None:
        self.reading.look_again()

    @precondition(lambda self: "made.ill" not in self.held)
    @precondition(lambda self: self.backlog.sent)
    @rule(data=st.data())
    def hold_a_type(self, data: st.DataObject) -> None:
        event = self.land(data)
        self.held.refuse(event.type, event.row, "nacked", "", self.now)
        self.backlog.leave(event)
        self.backlog.drop_types({event.type})

    @rule()
    def open_a_type(self) -> None:
        for type in list(self.held.types):
            self.held.open(type)
            self.reading.look_again()

    @rule()
    def discard(self) -> None:
        for row in self.rows.values():
            row.discarded |= row.parked

    @rule(count=st.integers(1, 6), size=st.sampled_from([1, 30, 1000]))
    def send(self, count: int, size: int) -> None:
        for event in self.backlog.take(count, size):
            assert self.rows[event.row].retry_at <= self.now
            assert event.type not in self.held.types
            if not event.key:
                continue
            assert [e.key for e in self.backlog.sent.values()].count(event.key) == 1
            if self.rows[event.row].replayed:
                continue
            older = [
                row
                for row in self.rows.values()
                if row.key == event.key and row.id < event.row and not row.replayed
            ]
            assert all(
                row.accepted or (row.discarded if self.parked_holds_key else row.parked)
                for row in older
            )

    @precondition(lambda self: self.backlog.sent)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        event = self.land(data)
        self.rows[event.row].accepted = True
        self.backlog.confirm(event)

    @precondition(lambda self: self.backlog.sent)
    @rule(data=st.data())
    def hold_back(self, data: st.DataObject) -> None:
        self.backlog.hold(self.land(data), self.now + 0.1, is_due=True)

    @precondition(lambda self: self.backlog.sent)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        event = self.land(data)
        self.rows[event.row].retry_at = self.now + 1.0
        self.backlog.hold(event, self.now + 1.0)

    @precondition(lambda self: self.backlog.sent)
    @rule(data=st.data())
    def park(self, data: st.DataObject) -> None:
        event = self.land(data)
        self.rows[event.row].parked = True
        if self.parked_holds_key:
            self.backlog.drop(event)
        else:
            self.backlog.finish(event)

    @precondition(lambda self: self.backlog.sent)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        self.backlog.drop(self.land(data))

    @precondition(lambda self: self.backlog.sent)
    @rule(data=st.data())
    def lose_in_the_middle_of_settling(self, data: st.DataObject) -> None:
        self.land(data)
        self.backlog.forget_unsent()

    @rule()
    def mark(self) -> None:
        for event in self.backlog.confirmed:
            self.rows[event.row].marked = True
        self.backlog.confirmed = []

    @rule()
    def forget_unsent(self) -> None:
        self.backlog.forget_unsent()

    @rule(lane=st.sampled_from(LANES))
    def lose_a_lane_and_get_it_back(self, lane: int) -> None:
        self.backlog.forget_lanes({lane})

    # What is always true

    @invariant()
    def one_of_a_key_at_a_time(self) -> None:
        moving = [*self.backlog._ready, *self.backlog.sent.values()]
        ordered = [event.key for event in moving if event.key]
        assert len(ordered) == len(set(ordered))

    @invariant()
    def memory_is_bounded_and_counted(self) -> None:
        backlog = self.backlog
        queues = backlog._waiting.values()
        assert sum(map(len, queues)) == backlog._waiting_count <= CAPACITY
        assert all(queues)
        assert backlog.sent_bytes == sum(e.size for e in backlog.sent.values())
        assert backlog._crowded <= backlog._busy.keys()
        assert backlog._waiting.keys() <= backlog._busy.keys()
        assert len(backlog.known_rows()) == len(set(backlog.known_rows()))

    def teardown(self) -> None:
        """Nothing is forgotten for ever: all of it gets through in the end."""
        for row in self.rows.values():
            row.visible = True
            row.discarded |= row.parked
        self.open_a_type()
        for _ in range(20 * len(self.rows) + 20):
            self.now += 1.0  # Polls and what is held come due.
            self.read()
            self.send(100, 1000)
            for row in list(self.backlog.sent):
                event = self.backlog.land(row)
                assert event is not None
                self.rows[row].accepted = True
                self.backlog.confirm(event)
            self.mark()
            if not any(row.pending for row in self.rows.values()):
                break
        left = [row for row in self.rows.values() if row.pending]
        assert not left, f"forgotten: {left}"

    # Helpers

    def insert(self, row: Row) -> None:
        self.rows[row.id] = row

    def locked(self, key: str) -> bool:
        """Another transaction holds the lock that serialises this key."""
        return bool(key) and any(
            row.key == key and not row.visible for row in self.rows.values()
        )

    def land(self, data: st.DataObject) -> Outgoing:
        row = data.draw(st.sampled_from(list(self.backlog.sent)))
        event = self.backlog.land(row)
        assert event is not None
        return event


class HistoriesInParts(Histories):
    """No look may start at the lowest id: each examines two or three rows."""

    pace = Pace(part=3, least=2, cheap=-1.0)


def test_of_a_key_that_comes_free_what_is_held_stays() -> None:
    history = HistoriesInParts()
    for row in (Row(1, "a"), Row(2, "a", "made.ill"), Row(3, "b", "made.ill")):
        history.insert(row)
    held, backlog = history.held, history.backlog

    def read() -> list[int]:
        for _ in range(3):
            history.now += 1.0
            history.read()
        return [event.row for event in backlog.take(100, 1000)]

    assert sorted(read()) == [1, 3]
    refused, first = backlog.land(3), backlog.land(1)
    assert refused is not None
    assert first is not None
    held.refuse(refused.type, 3, "nacked", "", history.now)
    backlog.leave(refused)
    backlog.drop_types(held.types)
    backlog.drop(first)
    assert read() == [1]

    again = backlog.land(1)
    assert again is not None
    history.rows[1].accepted = True
    backlog.confirm(again)
    history.mark()

    assert read() == []


class HistoriesOfParkedKeys(HistoriesInParts):
    """A parked event holds its key."""

    parked_holds_key = True


SETTINGS = settings(
    max_examples=60,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestHistories = pytest.mark.slow(Histories.TestCase)
TestHistories.settings = SETTINGS
TestHistoriesInParts = pytest.mark.slow(HistoriesInParts.TestCase)
TestHistoriesInParts.settings = SETTINGS
# The one for the daily loop: it has all that can happen in the others.
TestHistoriesOfParkedKeys = HistoriesOfParkedKeys.TestCase
TestHistoriesOfParkedKeys.settings = SETTINGS
