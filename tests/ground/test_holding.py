"""A hold: joined, renewed, lost, given back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from django_strangler.clock import DatabaseNow
from django_strangler.holding import Hold
from django_strangler.models import RelayProcess


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def new_hold(any_db, clock) -> Callable[[], Hold]:
    def make() -> Hold:
        rows = RelayProcess.objects.using(any_db)
        return Hold(rows.all, length=9.0, values={"steady": False}, monotonic=clock)

    return make


def row(alias: str, hold: Hold) -> RelayProcess:
    return RelayProcess.objects.using(alias).get(token=hold.token)


def test_a_hold_is_valid_once_it_is_joined(new_hold, any_db):
    hold = new_hold()
    assert not hold.is_valid

    hold.join()

    assert hold.is_valid
    assert row(any_db, hold).length == 9.0
    assert row(any_db, hold).name == hold.name
    assert not row(any_db, hold).steady


def test_a_hold_that_is_not_renewed_ends_by_its_own_clock(new_hold, clock):
    hold = new_hold()
    hold.join()

    clock.now += 8.9
    assert hold.is_valid
    clock.now += 0.1
    assert not hold.is_valid


def test_keeping_renews_after_a_third_and_not_before(new_hold, clock, any_db):
    hold = new_hold()
    hold.join()
    first = row(any_db, hold).expires_at

    clock.now += 2.9
    assert hold.keep()
    assert row(any_db, hold).expires_at == first
    clock.now += 0.2
    assert hold.keep()
    assert row(any_db, hold).expires_at > first
    assert hold.valid_until == clock.now + 9.0


def test_a_hold_that_ran_out_in_the_database_is_not_revived(new_hold, clock, any_db):
    hold = new_hold()
    hold.join()
    token = hold.token
    RelayProcess.objects.using(any_db).update(expires_at=DatabaseNow(-1))

    assert not hold.renew()
    clock.now += 4
    assert not hold.keep()

    assert hold.token != token
    assert hold.is_valid
    assert RelayProcess.objects.using(any_db).count() == 1


def test_a_hold_that_another_clock_wrote_is_not_renewed(new_hold, any_db):
    hold = new_hold()
    hold.join()
    RelayProcess.objects.using(any_db).update(expires_at=DatabaseNow(3600))

    assert not hold.renew()


def test_a_hold_that_was_paused_is_a_new_one(new_hold, clock):
    hold = new_hold()
    hold.join()
    token = hold.token

    clock.now += 100

    assert not hold.keep()
    assert hold.token != token


def test_leaving_takes_the_row_away(new_hold, any_db):
    hold = new_hold()
    hold.join()

    hold.leave()

    assert not hold.is_valid
    assert not RelayProcess.objects.using(any_db).exists()


def test_rows_that_ended_long_ago_are_cleared_away(new_hold, any_db):
    old = new_hold()
    old.join()
    RelayProcess.objects.using(any_db).update(expires_at=DatabaseNow(-90_000))

    new_hold().join()

    assert RelayProcess.objects.using(any_db).count() == 1
