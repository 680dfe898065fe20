"""The checker finds each fault that is planted in a history."""

from __future__ import annotations

from tests.torture.checker import check

COMMITTED = {"a": 3, "b": 1}
GOOD = [("a", 1), ("b", 1), ("a", 2), ("a", 3)]


def test_a_good_history_is_good():
    verdict = check(COMMITTED, GOOD, most_duplicates=0)

    assert verdict.is_good
    assert (verdict.events, verdict.copies) == (4, 4)


def test_a_lost_event_is_found():
    verdict = check(COMMITTED, GOOD[:-1], most_duplicates=0)

    assert verdict.lost == [("a", 3)]
    assert not verdict.is_good


def test_an_invented_event_is_found():
    verdict = check(COMMITTED, [*GOOD, ("b", 2)], most_duplicates=0)

    assert verdict.invented == [("b", 2)]
    assert not verdict.is_good


def test_an_event_out_of_order_is_found():
    swapped = [("a", 1), ("a", 3), ("a", 2), ("b", 1)]

    verdict = check(COMMITTED, swapped, most_duplicates=0)

    assert verdict.out_of_order == [("a", 2)]
    assert not verdict.is_good


def test_second_copies_have_no_order():
    verdict = check(COMMITTED, [*GOOD, ("a", 1)], most_duplicates=1)

    assert verdict.is_good
    assert verdict.duplicates == 1


def test_too_many_copies_are_found():
    verdict = check(COMMITTED, [*GOOD, ("a", 1), ("a", 1)], most_duplicates=1)

    assert not verdict.is_good


def test_what_is_still_pending_is_found():
    assert not check(COMMITTED, GOOD, most_duplicates=0, pending=1).is_good


def test_what_only_the_work_queue_kept_was_delivered():
    verdict = check(COMMITTED, GOOD[:-1], most_duplicates=0, elsewhere={("a", 3)})

    assert verdict.is_good
    assert verdict.missed_by_witness == 1
