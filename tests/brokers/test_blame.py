"""Whose fault is it? Told step by step, against a RabbitMQ of a few lines."""

from __future__ import annotations

import pytest

from django_strangler.brokers import Kind
from django_strangler.brokers.rabbitmq.blame import Blame
from tests.brokers.factories import outgoing

# One that says nothing useful: then only trying helps.
FORBIDDEN = (403, "ACCESS_REFUSED")
TOO_LARGE = (406, "PRECONDITION_FAILED")


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def blame(clock):
    return Blame(clock)


def hunt(blame, refuse):
    """Send alone whatever the blame asks for; the rows, in that order."""
    tried = []
    while (event := blame.next()) is not None:
        tried.append(event.row)
        refusal = refuse(event)
        if refusal:
            blame.refused(*refusal)
        else:
            blame.passed()
    return tried


def verdicts(blame):
    outcomes, blame.outcomes = blame.outcomes, []
    return {outcome.row: outcome for outcome in outcomes}


def of_rows(*rows, code=FORBIDDEN):
    return lambda event: code if event.row in rows else None


def test_the_culprit_is_found_in_the_middle_of_a_window(blame):
    events = [outgoing(row, "payment.completed") for row in range(1, 10)]
    events[4] = outgoing(5, "secret.leaked")
    blame.begin(events, *FORBIDDEN)

    tried = hunt(blame, of_rows(5))

    assert tried == [1, 2, 3, 4, 5]  # Passed before it: neighbours enough.
    found = verdicts(blame)
    assert (found[5].kind, found[5].final) == (Kind.REJECTED, True)
    assert {found[row].kind for row in (6, 7, 8, 9)} == {Kind.UNKNOWN}
    assert not blame.pending


def test_what_rabbitmq_names_is_tried_first_and_then_one_neighbour(blame):
    events = [outgoing(row, "payment.completed") for row in range(1, 1001)]
    events[899] = outgoing(900, "secret.leaked")
    reason = "ACCESS_REFUSED - access to topic 'secret.leaked' in exchange 'e' refused"
    blame.begin(events, 403, reason)

    tried = hunt(blame, of_rows(900, code=(403, reason)))

    assert tried == [900, 1]
    assert verdicts(blame)[900].kind is Kind.REJECTED


def test_alone_in_the_world_it_is_refused_twice_first(blame):
    blame.begin([outgoing(1), outgoing(2)], *TOO_LARGE)

    tried = hunt(blame, of_rows(1, code=TOO_LARGE))

    assert tried == [1, 1]
    assert verdicts(blame)[1].kind is Kind.REJECTED


def test_what_passes_at_the_second_try_was_never_guilty(blame):
    refusals = iter([FORBIDDEN, None])
    blame.begin([outgoing(1)], *FORBIDDEN)

    tried = hunt(blame, lambda event: next(refusals))

    assert tried == [1, 1]
    assert verdicts(blame) == {}


def test_when_all_types_are_refused_it_is_nobodys_fault(blame):
    blame.begin([outgoing(1), outgoing(2, "user.created")], *FORBIDDEN)

    tried = hunt(blame, lambda event: FORBIDDEN)

    assert tried == [1, 2]
    assert {each.kind for each in verdicts(blame).values()} == {Kind.UNKNOWN}
    assert blame.trouble


def test_when_rabbitmq_refuses_the_exchange_nothing_is_tried(blame):
    reason = "ACCESS_REFUSED - access to exchange 'e' in vhost '/' refused for user 'u'"
    blame.begin([outgoing(1), outgoing(2, "user.created")], 403, reason)

    assert blame.next() is None
    assert {each.kind for each in verdicts(blame).values()} == {Kind.UNKNOWN}
    assert blame.trouble == reason


def test_a_forbidden_type_is_held_and_tried_less_and_less_often(blame, clock):
    blame.begin([outgoing(1), outgoing(2, "user.created")], *FORBIDDEN)
    hunt(blame, of_rows(1))
    verdicts(blame)
    tries = []

    for clock.now in range(1, 301):
        usual = blame.sift([outgoing(clock.now * 10), outgoing(3, "user.created")])
        assert [event.row for event in usual] == [3]
        if hunt(blame, lambda event: FORBIDDEN):
            tries.append(clock.now)
        [held] = verdicts(blame).values()
        assert held.kind is Kind.UNKNOWN  # One was parked; that is enough.
        assert held.reason.startswith("held: ")
        assert 0 < held.pause <= 5

    assert tries == [5, 15, 35, 75, 135, 195, 255]


def test_a_type_that_is_allowed_again_flows_again(blame, clock):
    blame.begin([outgoing(1), outgoing(2, "user.created")], *FORBIDDEN)
    hunt(blame, of_rows(1))
    clock.now = 6

    assert blame.sift([outgoing(3), outgoing(4)]) == []
    assert hunt(blame, of_rows()) == [3]

    assert list(verdicts(blame)) == [1, 4]
    assert [event.row for event in blame.sift([outgoing(5)])] == [5]
    assert not blame.watchful


def test_what_is_as_large_as_one_refused_goes_alone_from_then_on(blame):
    large = outgoing(1, body="x" * 5000)
    refusal = (406, "PRECONDITION_FAILED - message size 5000 is larger than 4096")
    blame.begin([large, outgoing(2, "user.created")], *refusal)
    hunt(blame, of_rows(1, code=refusal))
    verdicts(blame)

    usual = blame.sift([outgoing(3), outgoing(4, body="x" * 6000)])

    assert [event.row for event in usual] == [3]
    assert hunt(blame, of_rows(4, code=refusal)) == [4]
    assert verdicts(blame)[4].kind is Kind.REJECTED


def test_a_raised_limit_is_noticed(blame):
    refusal = (406, "PRECONDITION_FAILED - message size 5000 is larger than 4096")
    blame.begin([outgoing(1, body="x" * 5000), outgoing(2, "u.c")], *refusal)
    hunt(blame, of_rows(1, code=refusal))

    blame.sift([outgoing(4, body="x" * 6000)])
    hunt(blame, of_rows())

    assert not blame.watchful


def test_when_the_connection_is_lost_meanwhile_everything_is_unknown(blame):
    blame.begin([outgoing(1), outgoing(2), outgoing(3)], *FORBIDDEN)
    blame.next()

    blame.abandon("connection lost")

    assert {(o.row, o.kind) for o in blame.outcomes} == {
        (row, Kind.UNKNOWN) for row in (1, 2, 3)
    }
    assert not blame.pending


@pytest.mark.parametrize("culprits", [{3}, {3, 7}, {1, 2, 3}, set(range(1, 11))])
def test_each_event_has_one_end_per_hunt(blame, culprits):
    types = ["a.b", "c.d", "e.f"]
    events = [outgoing(row, types[row % 3]) for row in range(1, 11)]
    ended = []
    blame.begin(events, *TOO_LARGE)

    while (event := blame.next()) is not None:
        if event.row in culprits:
            blame.refused(*TOO_LARGE)
        else:
            ended.append(event.row)
            blame.passed()

    ended += [outcome.row for outcome in blame.outcomes]
    assert sorted(ended) == list(range(1, 11))
