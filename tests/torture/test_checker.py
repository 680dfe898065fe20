"""The checker finds each fault that is planted in a history."""

from __future__ import annotations

import pytest

from tests.torture import checker
from tests.torture.history import Copy, Fault, History, Left, Parking, Wait

ORDER = [("a", 1), ("b", 1), ("a", 2), ("a", 3), ("torture.loose:1", 0)]


def copies(*labels: tuple[str, int]) -> list[Copy]:
    return [Copy(f"{name}-{number}", name, number) for name, number in labels]


@pytest.fixture
def history() -> History:
    """Nothing is wrong with it."""
    return History(
        counted={"a": 3, "b": 1},
        claimed=["torture.loose:1"],
        stream=copies(*ORDER),
        work=copies(*ORDER),
        effects={"a-3": 1, "torture.loose:1-0": 1},
    )


def test_a_good_history_is_good(history):
    verdict = checker.check(history)

    assert verdict.word == "GOOD"
    assert (verdict.events, verdict.copies) == (5, 5)


def test_a_lost_event_is_found(history):
    del history.stream[2], history.work[2]

    verdict = checker.check(history)

    assert verdict.lost == ["a 2"]
    assert verdict.word == "BAD"


def test_a_lost_event_outside_the_order_is_found(history):
    history.claimed.append("torture.once:7")

    assert checker.check(history).lost == ["torture.once:7"]


def test_what_one_of_two_queues_kept_was_delivered(history):
    del history.stream[0], history.work[1]

    verdict = checker.check(history)

    assert verdict.lost == []
    assert (verdict.only_in_stream, verdict.only_in_work) == (1, 1)


def test_a_delayed_event_whose_time_has_not_come_is_not_lost(history):
    history.claimed.append("torture.delayed:7")
    history.left.append(Left("7", "torture.delayed", "not due"))

    assert checker.check(history).word == "GOOD"


def test_a_delayed_event_that_is_nowhere_is_lost(history):
    history.claimed.append("torture.delayed:7")

    assert checker.check(history).lost == ["torture.delayed:7"]


def test_an_event_that_was_never_committed_is_found(history):
    history.stream += copies(("b", 2))
    history.work += copies(("torture.once:9", 0))

    assert checker.check(history).invented == ["b 2", "torture.once:9 0"]


def test_an_event_that_was_published_under_two_ids_is_found(history):
    history.stream.append(Copy("another", "torture.loose:1", 0))

    assert checker.check(history).invented == ["torture.loose:1 0"]


@pytest.mark.parametrize("queue", ["stream", "work"])
def test_an_event_out_of_order_is_found(history, queue):
    swapped = getattr(history, queue)
    swapped[2], swapped[3] = swapped[3], swapped[2]

    verdict = checker.check(history)

    assert verdict.out_of_order == [f"a 2 after 3 in the {queue}"]
    assert verdict.word == "BAD"


def test_second_copies_have_no_order(history):
    history.stream += copies(("a", 1))
    history.faults.append(Fault(name="x", began=1, ended=1, proof="y", hit=(1,)))

    verdict = checker.check(history)

    assert verdict.word == "GOOD"
    assert verdict.duplicates == 1


def test_what_was_parked_stands_outside_the_order(history):
    history.stream[2], history.stream[3] = history.stream[3], history.stream[2]
    history.parked.append(Parking("a-2", "torture.counted", "unroutable", 10, True))

    assert checker.check(history).word == "GOOD"


@pytest.mark.parametrize("queue", ["stream", "work"])
def test_too_many_copies_are_found(history, queue):
    getattr(history, queue).extend(copies(("a", 1), ("b", 1)))
    history.faults.append(Fault(name="x", began=1, ended=1, proof="y", hit=(1,)))

    verdict = checker.check(history)

    assert (verdict.duplicates, verdict.most_duplicates) == (2, 1)
    assert verdict.word == "BAD"


def test_a_hunt_for_a_poison_event_may_repeat_a_window(history):
    history.stream += copies(("a", 1), ("b", 1))
    history.parked.append(Parking("x", "torture.large", "rejected", 2, False))

    assert checker.check(history).word == "GOOD"


def test_repeats_after_a_nack_are_counted_apart(history):
    begin = Copy(checker.MARKER, checker.NACKS_BEGIN, 0)
    end = Copy(checker.MARKER, checker.NACKS_END, 0)
    history.stream = [
        begin,
        *history.stream,
        *copies(("a", 1)),
        end,
        *copies(("a", 1), ("b", 1)),
    ]

    verdict = checker.check(history)

    assert (verdict.duplicates, verdict.after_nacks) == (0, 3)
    assert verdict.word == "GOOD"


@pytest.mark.parametrize("count", [0, 2])
def test_an_effect_that_is_missing_or_doubled_is_found(history, count):
    history.effects = {**history.effects, "a-3": count}

    verdict = checker.check(history)

    assert verdict.effects == [f"a 3: {count} effects"]
    assert verdict.word == "BAD"


def test_an_effect_of_an_event_that_was_never_delivered_is_found(history):
    history.effects = {**history.effects, "ghost": 1}

    assert checker.check(history).effects == ["ghost: not delivered"]


@pytest.mark.parametrize(
    ("type", "reason", "justified", "is_fine"),
    [
        ("torture.counted", "unroutable", True, True),
        ("torture.counted", "unroutable", False, False),
        ("torture.counted", "rejected", True, False),
        ("torture.counted", "attempts", True, False),
        ("torture.large", "rejected", False, True),
        ("forbidden.word", "rejected", False, True),
        ("orphan.word", "unroutable", False, True),
        ("orphan.word", "rejected", False, False),
    ],
)
def test_parking_without_reason_is_found(history, type, reason, justified, is_fine):
    history.parked.append(Parking("x", type, reason, 10, justified))

    assert checker.check(history).parked == ([] if is_fine else [f"{type} x: {reason}"])


@pytest.mark.parametrize("state", ["pending", "parked"])
def test_what_is_left_over_is_found(history, state):
    history.left.append(Left("x", "torture.counted", state))

    assert checker.check(history).word == "BAD"


def test_draining_too_slowly_is_found(history):
    history.drained = 61

    assert checker.check(history).word == "BAD"


def test_a_fault_that_did_not_bite_makes_it_void(history):
    history.faults.append(Fault(name="kill a relay", began=1, ended=2))

    verdict = checker.check(history)

    assert verdict.void == ["kill a relay"]
    assert verdict.word == "VOID"


LOSS = Fault(name="kill a relay", began=9, ended=10, proof="x", hit=(10,))
OUTAGE = Fault(name="kill RabbitMQ", began=10, ended=15, proof="x", outage=True)


@pytest.mark.parametrize(
    ("wait", "faults", "is_fine"),
    [
        ((10, 17), [LOSS], True),  # The lease of 2 s, and 5 s.
        ((10, 17.1), [LOSS], False),
        ((10, 17.1), [], False),
        ((10, 25), [OUTAGE], True),  # The pause of 5 s after it, and 5 s.
        ((10, 25.1), [OUTAGE], False),
        ((2, 25), [OUTAGE], False),  # It had waited before for longer than it may.
        ((8, 25), [OUTAGE, LOSS], True),
    ],
)
def test_a_stall_that_lasts_too_long_is_found(history, wait, faults, is_fine):
    history.faults = faults
    history.waits = [Wait(*wait, 1, "torture.counted")]

    verdict = checker.check(history)

    assert (not verdict.stalls) is is_fine, verdict.stalls


def test_behind_a_backlog_that_is_worked_off_nothing_stands_still(history):
    older = [Wait(10, 10 + n, n, "torture.counted") for n in range(1, 30)]
    history.waits = [Wait(10, 41, 30, "torture.counted"), *older]

    verdict = checker.check(history)

    assert not verdict.stalls
    assert verdict.longest_wait == 31


@pytest.mark.parametrize(
    "others",
    [
        [Wait(10, 10 + n, 30 + n, "torture.counted") for n in range(1, 30)],
        [Wait(10, 11, 1, "torture.counted"), Wait(10, 19, 2, "torture.counted")],
    ],
    ids=["only what is younger gets away", "the older ones stand still as well"],
)
def test_what_stands_still_among_others_is_found(history, others):
    history.waits = [Wait(10, 20, 30, "torture.counted"), *others]

    assert checker.check(history).stalls


def test_the_longest_stall_is_told_with_its_causes(history):
    history.faults = [LOSS, OUTAGE]
    history.waits = [Wait(10, 12, 7, "torture.counted"), Wait(40, 41.5, 8, "x.y")]

    assert checker.check(history).longest_stall == (
        "2.0 s from 10.0 s on, 2.0 of them while something was away "
        "(torture.counted, row 7): kill a relay (9.0 to 10.0), "
        "kill RabbitMQ (10.0 to 15.0)"
    )


def test_a_history_can_be_read_again(history, tmp_path):
    history.about = {"seed": 1}
    history.faults = [LOSS, OUTAGE]
    history.waits = [Wait(10, 12, 7, "torture.counted")]
    history.parked = [Parking("x", "torture.large", "rejected", 2, False)]
    history.left = [Left("x", "torture.counted", "pending")]

    history.write(tmp_path / "history.gz")

    assert History.read(tmp_path / "history.gz") == history
