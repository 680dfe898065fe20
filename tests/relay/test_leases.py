"""Lanes under lease: claims, divisions, lapses, clocks."""

from __future__ import annotations

import time

import pytest
from django.db import OperationalError, connections
from django.test.utils import CaptureQueriesContext

from django_strangler.clock import DatabaseNow
from django_strangler.models import Lane, RelayProcess
from django_strangler.outbox.lanes import LANES
from django_strangler.outbox.leases import LOOK_INTERVAL, Leases

ALL = frozenset(range(LANES))


class Clock:
    """This process's own clock, which tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make_leases(alias: str, clock: Clock, **options) -> Leases:
    options.setdefault("length", 10.0)
    return Leases(connections[alias], monotonic=clock, **options)


def settle(clock: Clock, *relays: Leases) -> None:
    """Let all of them look a few times; what is to be left, is quiet at once."""
    for _ in range(4):
        clock.now += 2
        for relay in relays:
            relay.keep()
            if relay.leaving:
                relay.give_back(relay.leaving)


def test_the_first_relay_gets_all_lanes(sqlite_db: str, clock: Clock) -> None:
    leases = make_leases(sqlite_db, clock)

    change = leases.keep()

    assert leases.lanes == change.gained == ALL
    assert not change.lost
    assert Lane.objects.using(sqlite_db).count() == LANES


def test_live_relays_divide_the_lanes_evenly(sqlite_db: str, clock: Clock) -> None:
    relays = [make_leases(sqlite_db, clock) for _ in range(5)]

    settle(clock, *relays)

    assert sorted(len(relay.lanes) for relay in relays) == [6, 6, 6, 7, 7]
    assert frozenset().union(*(relay.lanes for relay in relays)) == ALL
    gone = relays.pop()
    gone.leave()
    settle(clock, *relays)
    assert sorted(len(relay.lanes) for relay in relays) == [8, 8, 8, 8]
    assert RelayProcess.objects.using(sqlite_db).count() == 4


def test_more_relays_than_lanes_leave_some_without(
    sqlite_db: str, clock: Clock
) -> None:
    relays = [make_leases(sqlite_db, clock) for _ in range(LANES + 2)]

    settle(clock, *relays)
    settle(clock, *relays)

    assert sorted(len(relay.lanes) for relay in relays) == [0, 0] + [1] * LANES


def test_a_lane_is_given_only_once_it_is_quiet(sqlite_db: str, clock: Clock) -> None:
    first, second = make_leases(sqlite_db, clock), make_leases(sqlite_db, clock)
    first.keep()
    second.keep()
    clock.now += 2
    first.keep()

    assert len(first.leaving) == LANES / 2
    second.keep()
    assert not second.lanes
    first.give_back(first.leaving)
    clock.now += 2
    assert len(second.keep().gained) == LANES / 2


def test_one_that_does_not_stay_takes_what_nobody_holds(
    sqlite_db: str, clock: Clock
) -> None:
    steady, passing = (
        make_leases(sqlite_db, clock),
        make_leases(sqlite_db, clock, steady=False),
    )
    steady.keep()
    settle(clock, passing, steady)

    assert steady.lanes == ALL
    assert not passing.lanes
    assert passing.held_by_others == LANES
    steady.leave()
    settle(clock, passing)
    assert passing.lanes == ALL
    settle(clock, steady, passing)
    assert passing.lanes == ALL  # Nor does it share.


def test_of_two_claims_one_succeeds(any_db: str, clock: Clock) -> None:
    """Both have seen the lanes free."""
    first, second = make_leases(any_db, clock), make_leases(any_db, clock)
    first.keep()
    holders = dict.fromkeys(range(LANES), first.token)
    first.leave()
    second._hold.join()
    Lane.objects.using(any_db).filter(number__lt=20).update(relay=first.token)
    third = make_leases(any_db, clock)
    third._hold.join()

    second._claim(list(range(LANES)), holders)
    third._claim(list(range(LANES)), holders)

    assert second.lanes == ALL
    assert not third.lanes


def test_a_dead_relay_is_inherited_once_its_lease_is_over(
    any_db: str, clock: Clock
) -> None:
    dead, heir = make_leases(any_db, clock), make_leases(any_db, clock)
    dead.keep()
    heir.keep()
    assert not heir.lanes

    RelayProcess.objects.using(any_db).filter(token=dead.token).update(
        expires_at=DatabaseNow(-0.3)
    )
    clock.now += 2
    heir.keep()

    assert heir.lanes == ALL


def test_the_end_of_another_lease_is_not_waited_past(
    sqlite_db: str, clock: Clock
) -> None:
    """So that lanes are taken over within lease + 2 s, and most often sooner."""
    dead, heir = make_leases(sqlite_db, clock), make_leases(sqlite_db, clock)
    dead.keep()
    began = time.monotonic()
    RelayProcess.objects.using(sqlite_db).filter(token=dead.token).update(
        expires_at=DatabaseNow(1.4)
    )

    heir.keep()
    meanwhile = time.monotonic() - began

    # A moment after the other lease's end, and not when it looks as a rule.
    assert 1.4 - meanwhile < heir.seconds_at_rest < 1.7 < LOOK_INTERVAL


def test_a_lease_ahead_of_its_own_length_is_over(any_db: str, clock: Clock) -> None:
    """The database's clock was set back, or somebody wrote by another clock."""
    ahead, other = make_leases(any_db, clock), make_leases(any_db, clock)
    ahead.keep()
    RelayProcess.objects.using(any_db).update(expires_at=DatabaseNow(3600))

    other.keep()
    assert other.lanes == ALL
    clock.now += 4
    token = ahead.token
    change = ahead.keep()

    assert ahead.token != token
    assert change.lost == ALL
    assert not ahead.lanes


def test_another_length_is_respected(sqlite_db: str, clock: Clock) -> None:
    patient = make_leases(sqlite_db, clock, length=60.0)
    hasty = make_leases(sqlite_db, clock, length=1.0)
    patient.keep()
    RelayProcess.objects.using(sqlite_db).update(expires_at=DatabaseNow(50))

    hasty.keep()

    assert not hasty.lanes


def test_a_renewal_is_one_statement(any_db: str, clock: Clock) -> None:
    leases = make_leases(any_db, clock)
    leases.keep()
    clock.now += 4
    leases._look_at = clock.now + 1

    with CaptureQueriesContext(connections[any_db]) as queries:
        leases.keep()

    assert len(queries) == 1
    assert leases.is_valid


def test_a_lapse_takes_a_new_token_and_nothing_stays(
    sqlite_db: str, clock: Clock
) -> None:
    leases = make_leases(sqlite_db, clock)
    leases.keep()
    token = leases.token

    clock.now += 10

    assert not leases.is_valid
    change = leases.keep()
    assert leases.token != token
    assert change.lost == change.gained == leases.lanes == ALL
    assert [row.token for row in RelayProcess.objects.using(sqlite_db)] == [
        leases.token
    ]


def test_a_lease_counts_from_the_asking(sqlite_db: str, clock: Clock) -> None:
    """However long the answer takes, the database counted from later."""
    leases = make_leases(sqlite_db, clock)
    leases.keep()

    def slow(execute, *args):
        result = execute(*args)
        clock.now += 6
        return result

    clock.now += 4
    with connections[sqlite_db].execute_wrapper(slow):
        leases._hold.renew()

    clock.now = 1013.9
    assert leases.is_valid
    clock.now = 1014.0
    assert not leases.is_valid


def test_what_was_lost_is_told_although_the_database_failed(
    sqlite_db: str, clock: Clock
) -> None:
    leases = make_leases(sqlite_db, clock)
    leases.keep()
    clock.now += 20
    look = leases._look
    leases._look = lambda: 1 / 0

    with pytest.raises(ZeroDivisionError):
        leases.keep()

    leases._look = look
    assert leases.keep().lost == ALL


def test_after_a_lapse_one_that_leaves_asks_a_lost_database_nothing(
    sqlite_db: str, clock: Clock
) -> None:
    leases = make_leases(sqlite_db, clock)
    leases.keep()
    clock.now += 20

    def is_away(*_: object) -> None:
        raise OperationalError

    with connections[sqlite_db].execute_wrapper(is_away):
        with pytest.raises(OperationalError):
            leases.keep()
        leases.leave()

    assert not leases.lanes


def test_a_flush_takes_the_lanes_and_they_come_back(
    sqlite_db: str, clock: Clock
) -> None:
    leases = make_leases(sqlite_db, clock)
    leases.keep()
    Lane.objects.using(sqlite_db).all().delete()
    RelayProcess.objects.using(sqlite_db).all().delete()

    clock.now += 4
    leases.keep()

    assert leases.lanes == ALL
    assert Lane.objects.using(sqlite_db).count() == LANES


def test_rows_of_the_long_dead_are_forgotten(sqlite_db: str, clock: Clock) -> None:
    dead = make_leases(sqlite_db, clock)
    dead.keep()
    RelayProcess.objects.using(sqlite_db).update(expires_at=DatabaseNow(-2 * 86400))

    make_leases(sqlite_db, clock).keep()

    tokens = [row.token for row in RelayProcess.objects.using(sqlite_db)]
    assert len(tokens) == 1
    assert dead.token not in tokens
