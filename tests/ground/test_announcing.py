"""What comes again and again is said a few times, and that it is over once."""

from __future__ import annotations

import logging

import pytest

from django_strangler.announcing import Announcer, Limits

LIMITS = Limits()
logger = logging.getLogger("django_strangler.tests")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def announcer(clock, caplog) -> Announcer:
    caplog.set_level(logging.DEBUG, logger.name)
    return Announcer(logger, monotonic=clock)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [it.getMessage() for it in caplog.records if it.name == logger.name]
    caplog.clear()
    return found


def test_the_first_lines_of_a_kind_are_logged_and_the_others_counted(
    announcer, clock, caplog
):
    for number in range(100):
        announcer.warning("a", "No %d.", number)
    announcer.warning("b", "Another.")
    assert said(caplog) == [*[f"No {n}." for n in range(LIMITS.most)], "Another."]

    clock.now += LIMITS.within
    announcer.warning("a", "No %d.", 100)
    announcer.warning("a", "No %d.", 101)
    left_out = 100 - LIMITS.most
    assert said(caplog) == [
        f"No 100. ({left_out} more like it were not logged)",
        "No 101.",
    ]


def test_lines_of_ever_new_kinds_are_no_flood(announcer, clock, caplog):
    for number in range(10_000):
        announcer.warning(f"order.{number}.created", "It failed.")
    assert len(said(caplog)) == LIMITS.kinds + LIMITS.most

    clock.now += LIMITS.within
    announcer.warning("order.20000.created", "It failed.")
    assert len(said(caplog)) == 1


def test_a_trouble_that_lasts_is_said_once_and_again_every_few_minutes(
    announcer, clock, caplog
):
    for _ in range(100):
        announcer.once("rabbit", "It cannot be reached.")
        clock.now += 1.0
    assert said(caplog) == ["It cannot be reached."]

    clock.now += LIMITS.remind_after
    announcer.once("rabbit", "It cannot be reached.")
    assert said(caplog) == ["It cannot be reached."]


def test_the_end_of_a_trouble_is_said_once(announcer, caplog):
    announcer.over("rabbit", "It answers again.")
    assert said(caplog) == []

    announcer.once("rabbit", "It cannot be reached.")
    announcer.over("rabbit", "It answers again.")
    announcer.over("rabbit", "It answers again.")
    assert said(caplog) == ["It cannot be reached.", "It answers again."]

    announcer.once("rabbit", "It cannot be reached.")
    assert said(caplog) == ["It cannot be reached."]


def test_the_end_of_all_troubles_is_said_once(announcer, caplog):
    announcer.all_over("All is well.")
    announcer.once("a", "It is slow.", after=10.0)
    announcer.all_over("All is well.")
    assert said(caplog) == []

    for kind in ("a", "b", "a"):
        announcer.once(kind, "It cannot be reached.")
    announcer.all_over("All is well.")
    announcer.all_over("All is well.")
    assert said(caplog) == [*["It cannot be reached."] * 2, "All is well."]


def test_a_trouble_that_is_soon_over_is_not_worth_a_line(announcer, clock, caplog):
    announcer.once("database", "It is slow.", after=10.0)
    clock.now += 9.0
    announcer.over("database", "It is quick again.")
    clock.now += 9.0
    announcer.once("database", "It is slow.", after=10.0)
    assert said(caplog) == []

    clock.now += 10.0
    announcer.once("database", "It is slow.", after=10.0)
    assert said(caplog) == ["It is slow."]


def test_what_fails_every_second_time_is_not_over(announcer, clock, caplog):
    for _ in range(100):
        announcer.once("rabbit", "It fails.")
        announcer.over("rabbit", "It works.", calm=2.0)
        clock.now += 1.0
    assert said(caplog) == ["It fails."]

    clock.now += 2.0
    announcer.over("rabbit", "It works.", calm=2.0)
    assert said(caplog) == ["It works."]


def test_fields_for_machines_come_with_the_line(announcer, caplog):
    announcer.warning("a", "No.", extra={"relay": "r1"})

    (record,) = [it for it in caplog.records if it.name == logger.name]
    assert record.relay == "r1"
