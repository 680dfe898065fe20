"""Ramps: a pure function of schedule and clock."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest

from django_strangler.exceptions import InvalidPercentage, InvalidRamp
from django_strangler.feature_flags import ramps

NOW = datetime(2030, 1, 4, 12, tzinfo=timezone.utc)  # A Friday.
MONDAY = datetime(2030, 1, 7, 9, tzinfo=timezone.utc)
WEEK = timedelta(days=7)
STEPS = [(1, None), (5, MONDAY), (25, WEEK)]


def at(ramp, moment):
    reached = ramp.percentage(moment)
    return None if reached is None else float(reached)


def test_one_percent_now_five_on_monday_25_a_week_later():
    ramp = ramps.plan(STEPS, now=NOW)

    assert at(ramp, NOW - timedelta(seconds=1)) is None
    assert at(ramp, NOW) == 1
    assert at(ramp, MONDAY - timedelta(seconds=1)) == 1
    assert at(ramp, MONDAY) == 5
    assert at(ramp, MONDAY + WEEK) == 25
    assert at(ramp, MONDAY + 100 * WEEK) == 25


def test_a_ramp_that_is_held_stays_and_goes_on_without_a_jump():
    held = ramps.plan(STEPS, now=NOW).hold(MONDAY + timedelta(days=2))
    assert at(held, MONDAY + 50 * WEEK) == 5

    resumed = held.resume(MONDAY + timedelta(days=12))

    assert at(resumed, MONDAY + timedelta(days=12)) == 5
    assert at(resumed, MONDAY + WEEK + timedelta(days=9, hours=23)) == 5
    assert at(resumed, MONDAY + WEEK + timedelta(days=10)) == 25


def test_holding_and_resuming_twice_is_the_same_as_once():
    ramp = ramps.plan(STEPS, now=NOW)
    held = ramp.hold(MONDAY)

    assert held.hold(MONDAY + WEEK) is held
    assert ramp.resume(MONDAY) is ramp


def test_a_clock_that_was_set_back_while_held_moves_nothing():
    ramp = ramps.plan(STEPS, now=NOW)

    assert ramp.hold(MONDAY).resume(NOW) == ramp


def test_a_ramp_comes_back_from_its_column_as_it_was():
    ramp = ramps.plan(STEPS, now=NOW)

    assert ramps.from_json(ramp.to_json()) == ramp
    assert ramps.from_json(ramp.hold(NOW).to_json()) == ramp.hold(NOW)


def test_zones_are_one_time_line():
    zone = timezone(timedelta(hours=5))
    ramp = ramps.plan([(1, MONDAY.astimezone(zone))], now=NOW)

    assert ramp.steps[0].at == MONDAY
    assert ramp.to_json()["steps"] == [["2030-01-07T09:00:00+00:00", "1.00"]]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([], "at least one step"),
        ([(1, MONDAY), (5, MONDAY)], "back in time"),
        ([(1, MONDAY), (5, NOW)], "back in time"),
        ([(1, MONDAY), (5, -WEEK)], "back in time"),
        ([(1, None), (5, None)], "back in time"),
        ([(1, NOW - WEEK), (5, MONDAY)], "in the past"),
        ([(1, datetime(2030, 1, 7))], "no time zone"),
        ([(1, "Monday")], "not a moment"),
        ([(1, 7)], "not a moment"),
        ([(1, MONDAY), (2, timedelta.max)], "not a moment"),
        ([1], "not a step"),
        ([(1, MONDAY, 2)], "not a step"),
    ],
)
def test_a_ramp_that_makes_no_sense_is_refused(steps, message):
    with pytest.raises(InvalidRamp, match=message):
        ramps.plan(steps, now=NOW)


def test_a_step_has_a_percentage():
    with pytest.raises(InvalidPercentage):
        ramps.plan([("0.001", None)], now=NOW)


def test_a_first_step_now_may_be_a_moment_old():
    assert ramps.plan([(1, NOW - timedelta(seconds=2))], now=NOW)


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        "x",
        {"steps": []},
        {"steps": [["x", "1"]]},
        {"steps": [["2030-01-07T09:00:00", "1"]]},
        {"steps": [["2030-01-07T09:00:00+00:00", "101"]]},
        {"steps": [["2030-01-07T09:00:00+00:00"]]},
        {"steps": [["2030-01-07T09:00:00+00:00", "1"]], "held_at": 7},
    ],
)
def test_a_column_that_is_no_ramp_is_refused(value):
    with pytest.raises(InvalidRamp):
        ramps.from_json(value)


def test_percentages_are_exact():
    assert ramps.plan([("0.01", None)], now=NOW).percentage(NOW) == Decimal("0.01")
