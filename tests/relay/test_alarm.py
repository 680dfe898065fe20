"""When a look is due: the clocks of a relay, moved by hand, without a database."""

from __future__ import annotations

import pytest

from django_strangler.outbox import notify
from django_strangler.outbox.alarm import (
    AWAKE,
    LOOK_PAUSE,
    NEVER,
    READ_PAUSE,
    REST,
    TOLD,
    Alarm,
    WakefulAlarm,
)

POLL = 10.0


class Clock:
    """Moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Due:
    """The alarm for what is due, and looks that cost what they are told to."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.alarm = WakefulAlarm(self.clock, POLL)
        self.under_way = False

    @property
    def at(self) -> float:
        return self.alarm.at(more=False, under_way=self.under_way)

    @property
    def in_seconds(self) -> float:
        return self.at - self.clock.now

    def look(
        self, *, cost: float = 0.0, found: bool = False, more: bool = False
    ) -> None:
        began = self.clock.now
        self.clock.now += cost
        self.alarm.more = more
        self.alarm.looked(began, found=found, under_way=self.under_way)

    def looks_for(self, seconds: float) -> int:
        """How many looks find nothing from now on."""
        until, count = self.clock.now + seconds, 0
        while (at := max(self.at, self.clock.now)) < until:
            self.clock.now = at
            self.look(cost=0.001)
            count += 1
        self.clock.now = until
        return count


@pytest.fixture
def due() -> Due:
    """One that has seen, a moment ago, that there is nothing."""
    due = Due()
    due.look()
    due.clock.now += 2 * READ_PAUSE
    return due


def test_the_first_look_is_due_at_once() -> None:
    assert Due().at == -NEVER
    assert Alarm(Clock(), POLL).at == -NEVER


def test_when_nothing_comes_it_rings_at_every_poll(due: Due) -> None:
    for _ in range(3):
        due.clock.now = due.at
        due.look()

        assert due.in_seconds == pytest.approx(POLL)


@pytest.mark.parametrize("cost", [0.0, 0.009, 0.2])
@pytest.mark.parametrize("found", [True, False])
def test_after_who_told_is_quiet_a_look_is_due_whatever_was_before(
    due: Due, cost: float, found: bool
) -> None:
    due.alarm.wake()
    told = due.clock.now
    assert due.at <= told
    while due.clock.now < told + notify.QUIET:
        due.look(cost=cost, found=found)  # None of them shows what is untold.
        due.clock.now = max(due.clock.now, min(due.at, told + notify.QUIET))

    assert due.at <= told + TOLD


def test_who_goes_on_telling_is_looked_for_all_the_time(due: Due) -> None:
    looks = 0
    for _ in range(100):
        due.alarm.wake()
        looks += due.looks_for(notify.QUIET)

    assert looks >= 100


def test_after_the_last_that_was_told_the_looks_end(due: Due) -> None:
    due.alarm.wake()

    assert due.looks_for(POLL / 2) <= TOLD / READ_PAUSE + 2
    assert TOLD < due.in_seconds <= POLL


def test_who_does_not_tell_is_looked_for_longer(due: Due) -> None:
    due.look(found=True)
    due.looks_for(AWAKE - 0.05)
    assert due.in_seconds <= READ_PAUSE

    due.looks_for(1.0)
    assert due.in_seconds > 1.0


def test_a_look_that_was_promised_comes_however_late_one_is(due: Due) -> None:
    due.look(found=True)
    due.clock.now += 2 * AWAKE

    assert due.in_seconds <= 0


def test_with_nothing_under_way_neither_more_nor_a_poll_waits(due: Due) -> None:
    due.look(cost=1.0, more=True)
    assert due.at == -NEVER

    due.look(cost=1.0)
    assert due.alarm.at(more=True, under_way=False) == -NEVER
    due.alarm.wake()
    due.look(cost=5.0)
    assert due.in_seconds <= 0


def test_while_events_are_under_way_looks_keep_a_distance(due: Due) -> None:
    due.under_way = True
    began = due.clock.now
    due.look(more=True)
    assert due.at == pytest.approx(began + READ_PAUSE)

    due.look(found=True)
    pauses = []
    for _ in range(6):
        due.clock.now = due.at
        due.look()
        pauses.append(due.in_seconds)
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(LOOK_PAUSE)

    began = due.clock.now = due.at
    due.look(cost=0.1)
    assert due.at == pytest.approx(began + REST * 0.1)


def test_one_that_comes_to_an_end_rings_only_while_there_is_more(due: Due) -> None:
    due.alarm.polls = False
    due.look(found=True)
    assert due.at == NEVER
    due.alarm.wake()
    assert due.at == NEVER

    due.look(more=True)
    assert due.at == -NEVER


def test_what_was_delayed_is_polled_and_rested_from_when_looks_are_dear() -> None:
    clock = Clock()
    alarm = Alarm(clock, POLL)

    alarm.looked(clock.now, more=True, is_dear=False)
    assert alarm.at == -NEVER
    alarm.looked(clock.now, more=False, is_dear=False)
    assert alarm.at == clock.now + POLL

    for more in (True, False):
        began = clock.now
        clock.now += 2.0
        alarm.looked(began, more=more, is_dear=True)
        assert alarm.at == clock.now + REST * 2.0
        alarm.more = True  # Something may have come back: it rests all the same.
        assert alarm.at == clock.now + REST * 2.0

    alarm.looked(clock.now, more=False, is_dear=False)
    alarm.polls = False
    assert alarm.at == NEVER
