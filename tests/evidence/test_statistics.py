"""The statistics of guards, against values that are known."""

from __future__ import annotations

import math

import pytest

from django_strangler.evidence.histogram import bucket_of
from django_strangler.evidence.reading import Seen, Slice
from django_strangler.evidence.statistics import (
    Ground,
    Rule,
    chance,
    fails_more,
    fails_too_often,
    is_burst,
    is_slower,
    judge,
    tail,
    wilson,
)

from . import simulation

SOURCE = "route:a"
RULE = Rule()


@pytest.mark.parametrize(
    ("failed", "checked", "low", "high"),
    [  # Newcombe (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_is_that_of_the_literature(failed, checked, low, high):
    assert wilson(failed, checked) == (
        pytest.approx(low, abs=5e-5),
        pytest.approx(high, abs=5e-5),
    )


def test_nothing_seen_may_be_anything():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(10, 10)[1] == pytest.approx(1.0)


def test_chance_is_the_exact_tail():
    # Five failures, all on one of two equal sides: 1 in 32.
    five, none = Seen(checked=100, failed=5), Seen(checked=100)

    assert chance(five, none) == pytest.approx(1 / 32)
    assert chance(none, five) == pytest.approx(1)


def test_twice_as_many_failures_of_enough_are_found():
    doubt = fails_more(
        RULE,
        SOURCE,
        Seen(checked=10_000, failed=200),
        Seen(checked=90_000, failed=900),
    )

    assert doubt is not None
    assert doubt.ground is Ground.FAILURES
    assert "2.00 % of 10,000" in doubt.text
    assert "1.00 % of 90,000" in doubt.text


@pytest.mark.parametrize(
    ("modern", "legacy"),
    [
        ((199, 199), (1000, 0)),  # Below the least number.
        ((10_000, 100), (10_000, 100)),  # Alike.
        ((10_000, 140), (10_000, 100)),  # Within the margin.
        ((300, 9), (3000, 30)),  # It may be chance.
        ((1000, 0), (1000, 500)),  # Better.
    ],
)
def test_what_is_not_beyond_doubt_is_no_reason(modern, legacy):
    assert not fails_more(
        RULE,
        SOURCE,
        Seen(checked=modern[0], failed=modern[1]),
        Seen(checked=legacy[0], failed=legacy[1]),
    )


def test_without_a_legacy_side_the_limit_counts():
    assert fails_too_often(RULE, SOURCE, Seen(checked=300, failed=15))
    assert not fails_too_often(RULE, SOURCE, Seen(checked=300, failed=2))
    assert not fails_too_often(RULE, SOURCE, Seen(checked=199, failed=199))


def test_a_few_above_the_limit_are_no_reason():
    # The interval is above the limit, as it is in one look of hundreds by chance.
    seen = Seen(checked=200, failed=4)

    assert wilson(seen.failed, seen.checked)[0] > RULE.limit / 100
    assert not fails_too_often(RULE, SOURCE, seen)


@pytest.mark.parametrize(
    ("least", "number", "share"), [(5, 5, 0.5), (10, 300, 0.005), (60, 3000, 0.01)]
)
def test_the_tail_is_that_of_the_binomial_distribution(least, number, share):
    wanted = sum(
        math.comb(number, hit) * share**hit * (1 - share) ** (number - hit)
        for hit in range(least, min(number, least + 80) + 1)
    )

    assert tail(least, number, share) == pytest.approx(wanted, rel=1e-6)


def test_no_more_than_expected_is_no_surprise():
    assert tail(30, 3000, 0.01) == 1
    assert tail(0, 0, 0.5) == 1
    assert tail(10**6, 10**7, 0.5) == 1


@pytest.mark.parametrize("legacy", [0, 1])
def test_nothing_trips_for_a_week_where_intervals_alone_would(legacy):
    traffic = simulation.Traffic(modern=1, legacy=legacy, failing=5 if legacy else 0.5)

    def false_trips(chance: float) -> float:
        rule = simulation.rule_of(chance)
        return simulation.Simulation(rule, traffic, seed=7).false_trips(days=7)

    assert false_trips(math.inf) > 100  # In a hundred days.
    assert false_trips(RULE.chance) == 0


def test_three_times_the_failures_are_found_within_a_minute():
    traffic = simulation.Traffic(modern=50, legacy=50, failing=1, worse=3)
    guard = simulation.Simulation(simulation.rule_of(RULE.chance), traffic, seed=7)

    assert guard.seconds_until_found(20)[10] <= 60


def durations(*pairs: tuple[float, int]) -> dict[int, int]:
    return {bucket_of(seconds): number for seconds, number in pairs}


FAST = durations((0.1, 2000))
SLOW = durations((0.1, 1900), (0.5, 100))


def test_slower_in_both_halves_is_slower():
    doubt = is_slower(RULE, SOURCE, [SLOW, SLOW], [FAST, FAST])

    assert doubt is not None
    assert doubt.ground is Ground.SLOWER


@pytest.mark.parametrize(
    ("modern", "legacy"),
    [
        ([SLOW, FAST], [FAST, FAST]),
        ([FAST, SLOW], [FAST, FAST]),
        ([FAST, FAST], [SLOW, SLOW]),
        ([SLOW, SLOW], [SLOW, SLOW]),
        ([durations((0.5, 100))] * 2, [FAST, FAST]),  # Below the least number.
        ([SLOW, SLOW], [{}, {}]),
    ],
)
def test_slower_in_one_half_is_not(modern, legacy):
    assert not is_slower(RULE, SOURCE, modern, legacy)


def test_durations_may_not_count():
    assert not is_slower(Rule(slower=None), SOURCE, [SLOW, SLOW], [FAST, FAST])


def a_slice(
    process: str = "p",
    *,
    side: str = "modern",
    number: int = 0,
    failures: tuple[float, ...] = (),
    success: float | None = None,
    checked: int = 0,
    failed: int = 0,
) -> Slice:
    return Slice(
        process=process,
        number=number,
        source=SOURCE,
        side=side,
        began=10,
        checked=checked,
        failed=failed,
        success=success,
        failures=failures,
    )


def ages(number: int) -> tuple[float, ...]:
    return tuple(number - each * 0.1 for each in range(number))


def test_twenty_failures_in_a_row_are_a_burst():
    assert is_burst(RULE, SOURCE, [a_slice(failures=ages(20))], 300)
    assert not is_burst(RULE, SOURCE, [a_slice(failures=ages(19))], 300)


def test_processes_add_up_to_a_burst():
    slices = [a_slice(str(each), failures=ages(5)) for each in range(4)]

    assert is_burst(RULE, SOURCE, slices, 300)
    assert not is_burst(RULE, SOURCE, slices[:3], 300)


def test_a_success_in_another_process_ends_a_burst():
    slices = [a_slice("a", failures=ages(20)), a_slice("b", success=0.05)]

    assert not is_burst(RULE, SOURCE, slices, 300)


def test_failures_before_the_last_change_are_no_burst():
    assert not is_burst(RULE, SOURCE, [a_slice(failures=ages(20))], 0.05)


def test_a_run_over_two_slices_counts_once():
    slices = [
        a_slice(number=0, failures=ages(15)),
        a_slice(number=1, failures=ages(15)),
    ]

    assert not is_burst(RULE, SOURCE, slices, 300)


def test_legacy_that_is_hardly_seen_counts_as_it_was_before():
    slices = [
        a_slice(checked=1000, failed=10),
        a_slice(side="legacy", checked=3, failed=0),
    ]
    before = Seen(checked=100_000, failed=1000)

    # By its limit alone, a route that always failed for 1 % would trip at 100 %.
    assert judge(RULE, SOURCE, slices, 300, before=Seen()) is None
    assert judge(RULE, SOURCE, slices[:1], 300, before=before) is None
    worse = [a_slice(checked=1000, failed=40)]
    assert judge(RULE, SOURCE, worse, 300, before=before)
