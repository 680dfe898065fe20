"""Counting in the process."""

from __future__ import annotations

import asyncio
import threading

import pytest

from django_strangler import evidence
from django_strangler.evidence.counts import Counts, Limits, Total
from django_strangler.evidence.noting import counts as noted
from django_strangler.exceptions import InvalidEvidence


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def woken() -> list[str]:
    return []


@pytest.fixture
def counts(clock: Clock, woken: list[str]) -> Counts:
    def wake() -> bool:
        woken.append("awake")
        return True

    return Counts(
        wake=wake,
        limits=Limits(slice=60, slices=3, sources=4),
        clock=clock,
    )


def only(totals: list[Total]) -> Total:
    (total,) = totals
    return total


def test_each_note_is_counted_by_source_and_side(counts: Counts):
    counts.note("route:a", side="modern")
    counts.note("route:a", side="modern", ok=False)
    counts.note("route:a", side="legacy")
    counts.note("route:b", side="legacy", ok=False)

    found = {(t.source, t.side): (t.checked, t.failed) for t in counts.totals()}

    assert found == {
        ("route:a", "modern"): (2, 1),
        ("route:a", "legacy"): (1, 0),
        ("route:b", "legacy"): (1, 1),
    }


def test_it_is_the_modern_side_and_good_unless_said_otherwise(counts: Counts):
    counts.note("route:a")

    total = only(counts.totals())
    assert (total.side, total.checked, total.failed) == ("modern", 1, 0)


def test_durations_are_kept_in_buckets(counts: Counts):
    for seconds in (0.01, 0.01, 5.0):
        counts.note("route:a", seconds=seconds)

    assert sorted(only(counts.totals()).buckets.values()) == [1, 2]


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_a_duration_by_a_clock_that_jumped_is_left_out(counts: Counts, seconds: float):
    counts.note("route:a", seconds=seconds)

    total = only(counts.totals())
    assert total.checked == 1
    assert total.buckets == {}


def test_a_run_of_failures_ends_with_a_success(counts: Counts, clock: Clock):
    for _ in range(3):
        counts.note("route:a", ok=False)
        clock.time += 1
    assert only(counts.totals()).failures == (3.0, 2.0, 1.0)

    counts.note("route:a")

    assert only(counts.totals()).failures == ()
    assert only(counts.totals()).success == 0.0


def test_a_run_of_failures_goes_on_in_the_next_slice(counts: Counts, clock: Clock):
    counts.note("route:a", ok=False)
    clock.time += 61

    counts.note("route:a", ok=False)

    assert counts.totals()[-1].failures == (61.0, 0.0)
    assert counts.totals()[-1].checked == 1


def test_a_slice_lasts_a_minute(counts: Counts, clock: Clock):
    counts.note("route:a")
    clock.time += 61
    counts.note("route:a")

    assert [(each.slice, each.age) for each in counts.totals()] == [(0, 61), (1, 0)]


def test_a_cut_begins_another_slice(counts: Counts):
    counts.note("route:a")
    counts.cut()
    counts.note("route:a")
    counts.cut()
    counts.cut()  # Nothing to cut.

    assert [each.slice for each in counts.totals()] == [0, 1]


def test_only_what_has_grown_is_taken_again(counts: Counts):
    counts.note("route:a")
    counts.note("route:b")
    counts.written(counts.take())
    counts.note("route:a")

    total = only(counts.take())

    assert (total.source, total.checked, total.new_checked) == ("route:a", 2, 1)


def test_what_was_taken_and_not_written_is_taken_again(counts: Counts):
    counts.note("route:a")
    counts.take()

    assert only(counts.take()).new_checked == 1


def test_slices_that_wait_are_bounded_and_what_falls_off_is_counted(
    counts: Counts, clock: Clock
):
    for _ in range(5):
        counts.note("route:a")
        clock.time += 61

    assert len(counts.totals()) == 3
    assert counts.dropped == 2


def test_sources_are_bounded_and_what_finds_no_room_is_counted(counts: Counts):
    for number in range(10):
        counts.note(f"route:{number}")

    assert len(counts.totals()) == 4
    assert counts.dropped == 6


def test_the_first_note_wakes_and_no_other(counts: Counts, woken: list[str]):
    counts.note("route:a")
    counts.note("route:b")
    assert len(woken) == 1

    counts.take()
    counts.note("route:a")
    assert len(woken) == 2


def test_threads_lose_nothing(counts: Counts):
    def work() -> None:
        for number in range(5000):
            counts.note("route:a", ok=number % 5 > 0, seconds=0.01)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    total = only(counts.totals())
    assert (total.checked, total.failed) == (20_000, 4000)
    assert sum(total.buckets.values()) == 20_000


@pytest.mark.parametrize("source", ["", "a\nb", "x" * 201, 7, None, "\ud800"])
def test_a_source_that_is_none_is_an_error_that_shows_one(counts: Counts, source):
    with pytest.raises(InvalidEvidence, match="route:payments-api"):
        counts.note(source)


def test_a_third_side_is_an_error(counts: Counts):
    with pytest.raises(InvalidEvidence, match="There are two"):
        counts.note("route:a", side="candidate")  # type: ignore[arg-type]


def test_legacy_code_is_noted_by_its_name():
    evidence.legacy("payments.send_payment_email")

    total = only(noted.totals())
    assert total.source == "legacy:payments.send_payment_email"
    assert total.side == "legacy"


def test_a_retiring_function_works_as_before_and_is_noted():
    @evidence.retiring("payments.double")
    def double(number: int) -> int:
        """Twice."""
        return 2 * number

    assert double(4) == 8
    assert double.__doc__ == "Twice."
    assert only(noted.totals()).checked == 1


def test_a_retiring_coroutine_stays_one():
    @evidence.retiring("payments.double")
    async def double(number: int) -> int:
        return 2 * number

    assert asyncio.run(double(4)) == 8
    assert only(noted.totals()).checked == 1
