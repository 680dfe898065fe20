"""Whose fault is it? Told step by step, against a RabbitMQ of a few lines."""

from __future__ import annotations

import pytest

from django_strangler.brokers import Cause, Kind
from django_strangler.brokers.rabbitmq.culprit import Blame, Refusal, search
from tests.brokers.factories import outgoing

# Those that say nothing useful: then only trying helps.
FORBIDDEN = Refusal(403, "ACCESS_REFUSED")
INVALID = Refusal(406, "PRECONDITION_FAILED")
FAULT = Refusal(541, "INTERNAL_ERROR")


def hunt(events, refusal, refuse):
    """Send alone what is asked for; the rows in that order, and the verdict."""
    tried, steps, said = [], search(events, refusal), None
    while True:
        try:
            event = steps.send(said)
        except StopIteration as end:
            return tried, end.value
        tried.append(event.row)
        said = refuse(event)


def of_rows(*rows, refusal):
    return lambda event: refusal if event.row in rows else None


@pytest.mark.parametrize("refusal", [FORBIDDEN, INVALID, FAULT])
def test_the_culprit_is_found_in_the_middle_of_a_window(refusal):
    events = [outgoing(row, "payment.completed") for row in range(1, 10)]
    events[4] = outgoing(5, "secret.leaked")

    tried, verdict = hunt(events, refusal, of_rows(5, refusal=refusal))

    assert tried[:5] == [1, 2, 3, 4, 5]
    assert (verdict.culprit.row, verdict.refusal) == (5, refusal)


def test_what_rabbitmq_names_is_tried_first():
    events = [outgoing(row, "payment.completed") for row in range(1, 1001)]
    events[899] = outgoing(900, "secret.leaked")
    refusal = Refusal(403, "access to topic 'secret.leaked' in exchange 'e' refused")

    tried, verdict = hunt(events, refusal, of_rows(900, refusal=refusal))

    assert tried == [900]
    assert verdict.culprit.row == 900


def test_what_is_invalid_is_guilty_once_a_neighbour_has_passed():
    events = [outgoing(1), outgoing(2, body="x" * 2000), outgoing(3, "user.created")]
    refusal = Refusal(406, "message size 2000 is larger than configured max size 1000")

    tried, verdict = hunt(events, refusal, of_rows(2, refusal=refusal))

    assert tried == [2, 3]
    assert verdict.culprit.row == 2


def test_alone_in_the_world_it_is_refused_twice_first():
    tried, verdict = hunt(
        [outgoing(1), outgoing(2)], INVALID, of_rows(1, refusal=INVALID)
    )

    assert tried == [1, 1]
    assert verdict.culprit.row == 1


def test_what_passes_at_the_second_try_was_never_guilty():
    refusals = iter([INVALID, None])

    tried, verdict = hunt([outgoing(1)], INVALID, lambda event: next(refusals))

    assert tried == [1, 1]
    assert verdict == (None, None)


def test_when_the_neighbours_are_refused_as_well_it_is_nobodys_fault():
    events = [outgoing(1), outgoing(2, "user.created"), outgoing(3, "user.left")]

    tried, verdict = hunt(events, INVALID, lambda event: INVALID)

    assert tried == [1, 2, 3]
    assert verdict == (None, INVALID)


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(403, "access to exchange 'e' in vhost '/' refused for user 'u'"),
        Refusal(404, "NOT_FOUND - no exchange 'e' in vhost '/'"),
    ],
)
def test_when_rabbitmq_refuses_the_exchange_nothing_is_tried(refusal):
    tried, verdict = hunt([outgoing(1)], refusal, lambda event: refusal)

    assert tried == []
    assert verdict == (None, refusal)


def test_when_all_pass_there_is_no_culprit():
    tried, verdict = hunt([outgoing(1), outgoing(2)], FAULT, lambda event: None)

    assert tried == [1, 2]
    assert verdict == (None, None)


@pytest.mark.parametrize("culprits", [{3}, {3, 7}, {1, 2, 3}])
def test_an_innocent_is_never_blamed(culprits):
    types = ["a.b", "c.d", "e.f", "g.h"]
    events = [outgoing(row, types[row % 4]) for row in range(1, 11)]

    _, verdict = hunt(events, INVALID, of_rows(*culprits, refusal=INVALID))

    assert verdict.culprit is None or verdict.culprit.row in culprits


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def blame(clock):
    return Blame(120.0, clock)


def test_a_forbidden_type_is_not_the_event_s_fault(blame):
    outcome = blame.outcome(outgoing(1), FORBIDDEN)

    assert (outcome.kind, outcome.cause) == (Kind.UNKNOWN, Cause.FORBIDDEN)
    assert outcome.cause.holds_type


def test_what_is_invalid_is_rejected_for_good(blame):
    outcome = blame.outcome(outgoing(1), INVALID)

    assert (outcome.kind, outcome.final) == (Kind.REJECTED, True)


def test_a_node_s_own_fault_is_not_blamed_on_an_event_within_minutes(blame, clock):
    found = []
    for clock.now in (0.0, 0.3, 1.0, 5.0, 30.0, 60.0, 119.0):
        found.append(blame.outcome(outgoing(1), FAULT, clock.now))

    assert {each.kind for each in found} == {Kind.UNKNOWN}
    assert {each.cause for each in found} == {Cause.NODE_FAULT}


def test_nor_later_if_nothing_else_was_confirmed_meanwhile(blame, clock):
    blame.outcome(outgoing(1), FAULT, -1.0)
    clock.now = 3600.0

    outcome = blame.outcome(outgoing(1), FAULT, -1.0)

    assert outcome.cause is Cause.NODE_FAULT
    assert outcome.kind is Kind.UNKNOWN


def test_a_fault_that_keeps_coming_with_one_event_counts_as_an_attempt(blame, clock):
    blame.outcome(outgoing(1), FAULT)
    clock.now = 121.0

    outcome = blame.outcome(outgoing(1), FAULT, 60.0)

    assert (outcome.kind, outcome.final) == (Kind.REJECTED, False)
