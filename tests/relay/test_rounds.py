"""Where looks begin and end beside what is held: without a database."""

from __future__ import annotations

from django_strangler.outbox.alarm import REST
from django_strangler.outbox.rounds import Pace, Rounds
from tests.relay.test_alarm import Clock

PACE = Pace(part=1000, least=100, part_takes=0.01, cheap=0.03, late=5.0)


def begun() -> tuple[Clock, Rounds]:
    """A first round, when the highest id is 70."""
    clock = Clock()
    rounds = Rounds(clock, PACE)
    rounds.begin(70)
    return clock, rounds


def test_looks_from_the_lowest_id_on_go_on_until_two_in_a_row_are_dear() -> None:
    rounds = Rounds(Clock(), PACE)

    assert [rounds.saw_all(cost, rows=0) for cost in (0.1, 0.02, 0.1, 0.1)] == [
        *(False, False, False, True)
    ]
    assert not Rounds(Clock(), PACE).saw_all(0.1, rows=5000)  # They are worth it.


def test_a_round_goes_on_where_its_last_part_ended_and_rests_in_the_end() -> None:
    clock, rounds = begun()
    for upto in (30, 60):
        rounds.went_on(upto, 0.5, is_last=False)
        assert rounds.after == upto
        assert not rounds.rests

    rounds.went_on(70, 0.5, is_last=True)

    assert (rounds.after, rounds.rests) == (0, True)
    clock.now += 1.5 * REST - 0.001
    assert rounds.rests
    clock.now += 0.002
    assert not rounds.rests


def test_one_that_starts_again_rests_only_for_what_it_cost_since() -> None:
    clock, rounds = begun()
    rounds.went_on(30, 5.0, is_last=False)
    rounds.start_again()
    assert (rounds.after, rounds.rests) == (0, False)

    rounds.went_on(70, 1.0, is_last=True)
    clock.now += REST * 1.0
    assert not rounds.rests


def test_a_short_round_says_that_none_is_needed() -> None:
    for cost, is_needed in ((0.02, False), (0.04, True)):
        _, rounds = begun()
        rounds.needed = True

        rounds.went_on(70, cost, is_last=True)

        assert (rounds.needed, rounds.rests) == (is_needed, is_needed)


def test_a_part_is_as_large_as_its_time_allows() -> None:
    _, rounds = begun()
    sizes = []
    for cost, is_last in (
        *((0.02, False), (0.02, False), (0.02, False), (0.02, False)),
        *((0.007, False), (0.001, True), (0.001, False), (0.001, False)),
    ):
        rounds.fit(cost, is_last=is_last)
        sizes.append(rounds.part)

    assert sizes == [500, 250, 125, 100, 100, 100, 200, 400]


def test_fresh_is_what_is_above_the_highest_id_of_some_seconds_ago() -> None:
    clock, rounds = begun()
    assert rounds.fresh_after == 70
    rounds.saw_end(80)
    clock.now += 1.0
    rounds.saw_end(90)
    # An id of up to 80 may still commit: it is 5 seconds old at most.
    assert rounds.fresh_after == 70

    clock.now += 4.1
    assert rounds.fresh_after == 80
    clock.now += 1.0
    assert rounds.fresh_after == 90


def test_short_rounds_alone_remember_no_more_than_the_last_seconds() -> None:
    clock, rounds = begun()
    for highest in range(80, 1080):
        clock.now += 1.0
        rounds.saw_end(highest)
        rounds.went_on(highest, 0.001, is_last=True)

    assert len(rounds._seen) < 10
    assert rounds.fresh_after == 1079 - 5


def test_what_is_fresh_is_looked_at_in_parts_as_well() -> None:
    _, rounds = begun()

    rounds.saw_fresh(75, is_last=False)
    assert rounds.fresh_after == 75
    rounds.start_again()  # That is the round's matter.
    assert rounds.fresh_after == 75
    rounds.saw_fresh(90, is_last=True)
    assert rounds.fresh_after == 70


def test_after_a_look_at_all_it_begins_anew() -> None:
    _, rounds = begun()
    rounds.saw_fresh(75, is_last=False)

    rounds.saw_all(0.0, rows=0)

    assert not rounds.has_begun
    rounds.begin(100)
    assert rounds.fresh_after == 100
