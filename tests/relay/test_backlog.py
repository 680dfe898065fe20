"""The rule of order, against a model: random histories of a table and a relay."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from django_strangler.brokers import Outgoing
from django_strangler.outbox.backlog import Backlog
from django_strangler.outbox.rows import Due
from tests.brokers.factories import outgoing

CAPACITY = 8
LIMIT = 5
LANES = (0, 1)
keys = st.sampled_from(["", "a", "b", "c"])


@dataclass
class Row:
    """A row of the outbox, as the model keeps it."""

    id: int
    key: str
    visible: bool = True  # Its transaction has committed.
    accepted: bool = False  # The broker confirmed it.
    marked: bool = False
    parked: bool = False
    replayed: bool = False  # Outside the order from then on.
    retry_at: float = 0.0
    size: int = field(default=10)

    @property
    def pending(self) -> bool:
        return self.visible and not self.marked and not self.parked

    @property
    def lane(self) -> int:
        return 0 if self.key in ("", "a") else 1

    def event(self) -> Outgoing:
        event = outgoing(self.id, key=self.key, order_key=self.key, lane=self.lane)
        return event._replace(size=self.size)


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog(capacity=CAPACITY)
        self.rows: dict[int, Row] = {}
        self.now = 0.0

    # The application

    @rule(key=keys, count=st.integers(1, 12), size=st.sampled_from([1, 10, 50]))
    def publish(self, key: str, count: int, size: int) -> None:
        if self.locked(key):
            return
        for _ in range(count):
            self.insert(Row(len(self.rows) + 1, key, size=size))
        self.backlog.has_more = True  # The poll, or NOTIFY.

    @rule(key=keys)
    def publish_and_commit_late(self, key: str) -> None:
        if not self.locked(key):
            self.insert(Row(len(self.rows) + 1, key, visible=False))

    @rule()
    def commit(self) -> None:
        for row in self.rows.values():
            if not row.visible:
                row.visible = True
                self.backlog.has_more = True
                return

    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        if parked := [row for row in self.rows.values() if row.parked]:
            row = data.draw(st.sampled_from(parked))
            row.parked, row.replayed, row.retry_at = False, True, 0.0
            self.backlog.has_more = True

    # The relay

    @rule(seconds=st.sampled_from([0.05, 0.5, 5.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def read(self) -> None:
        self.backlog.release(self.now)
        known = set(self.backlog.known_rows())
        left_out = set(self.backlog.left_out_keys())
        due = [
            Due(row.event(), row.retry_at - self.now)
            for row in self.rows.values()
            if row.pending and row.id not in known and row.key not in left_out - {""}
        ][:LIMIT]
        self.backlog.add(due, self.now)
        self.backlog.has_more = len(due) == LIMIT

    @rule(count=st.integers(1, 6), size=st.sampled_from([1, 30, 1000]))
    def send(self, count: int, size: int) -> None:
        for event in self.backlog.take(count, size):
            assert self.rows[event.row].retry_at <= self.now
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
            assert all(row.accepted or row.parked for row in older)

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
            if not row.visible:
                row.visible = self.backlog.has_more = True
        for _ in range(20 * len(self.rows) + 20):
            if not self.backlog.has_more and self.backlog.is_empty:
                until = self.backlog.held_until
                if until is None:
                    break
                self.now = max(self.now, until)
                self.backlog.release(self.now)
            if self.backlog.has_more:  # Not otherwise: has it kept that in mind?
                self.read()
            self.send(100, 1000)
            for row in list(self.backlog.sent):
                event = self.backlog.land(row)
                assert event is not None
                self.rows[row].accepted = True
                self.backlog.confirm(event)
            self.mark()
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


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=60,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_events_without_a_key_are_free() -> None:
    backlog = Backlog(capacity=4)

    backlog.add([Due(outgoing(row), 0.0) for row in range(1, 101)], now=0.0)

    assert len(backlog.take(100, 10**9)) == 100


def test_a_few_crowded_keys_leave_room_for_others() -> None:
    backlog = Backlog(capacity=40)
    crowd = [outgoing(row, key="hot", order_key="hot") for row in range(1, 1001)]
    pairs = [
        outgoing(2000 + n, key=f"k{n // 2}", order_key=f"k{n // 2}") for n in range(20)
    ]

    backlog.add([Due(event, 0.0) for event in [*crowd, *pairs]], now=0.0)

    assert backlog.left_out_keys() == ["hot"]
    waiting = [event.row for event in backlog.take(100, 10**9)]
    assert waiting == [1, *range(2000, 2020, 2)]


def test_what_is_larger_than_the_window_goes_alone() -> None:
    backlog = Backlog(capacity=4)
    events = [outgoing(row)._replace(size=100) for row in (1, 2)]
    backlog.add([Due(event, 0.0) for event in events], now=0.0)

    assert [event.row for event in backlog.take(10, 50)] == [1]
    assert backlog.take(10, 50) == []
    backlog.land(1)
    assert [event.row for event in backlog.take(10, 50)] == [2]
