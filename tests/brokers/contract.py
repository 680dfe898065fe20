"""
What every broker promises, as tests.

A subclass brings two fixtures: ``far``, the far side as a ``FarSide``, and ``broker``,
which is open, and whose far side has no queue yet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Protocol

from django_strangler.brokers import Broker, Kind, Outcome, Outgoing
from tests.brokers.factories import outgoing

PATIENCE = 60.0  # Seconds until a test gives up waiting.


class FarSide(Protocol):
    """What the tests do and see beyond the broker."""

    def bind(self, queue: str, pattern: str) -> None: ...

    def received(self, queue: str, count: int) -> list[str]:
        """The ids of that many events, in the order in which they arrived."""

    def lose_connections(self) -> None: ...

    def break_down(self) -> None:
        """Be unusable until ``mend``."""

    def mend(self) -> None: ...


def wait_for(
    condition: Callable[[], object], what: str = "", patience: float = PATIENCE
) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what or condition}"
        time.sleep(0.005)


def until_ready(broker: Broker, patience: float = PATIENCE) -> Broker:
    """Wait as the relay does, by ``outcomes``."""
    deadline = time.monotonic() + patience
    while not broker.ready:
        assert time.monotonic() < deadline, f"never ready: {broker.trouble}"
        assert broker.outcomes(0.1) == []
    return broker


def collect(
    broker: Broker, rows: Iterable[int], patience: float = PATIENCE
) -> dict[int, Outcome]:
    """The outcome of each of these rows; fails when one comes twice, or never."""
    missing, found = set(rows), dict[int, Outcome]()
    deadline = time.monotonic() + patience
    while missing:
        assert time.monotonic() < deadline, f"no outcome of {sorted(missing)[:10]}"
        for outcome in broker.outcomes(0.1):
            assert outcome.row not in found, f"two outcomes: {outcome}"
            found[outcome.row] = outcome
            missing.discard(outcome.row)
    return found


def kinds(outcomes: dict[int, Outcome]) -> set[Kind]:
    return {outcome.kind for outcome in outcomes.values()}


def deliver(
    broker: Broker, events: Iterable[Outgoing], patience: float = PATIENCE
) -> dict[int, Outcome]:
    """
    Send until each event has an end, as a relay would: UNKNOWN ones again and again.

    Several events of one key are sent one after the other.
    """
    waiting = {event.row: event for event in events}
    ended, flying = dict[int, Outcome](), set[int]()
    again_at = dict[int, float]()
    deadline = time.monotonic() + patience
    while waiting:
        now = time.monotonic()
        assert now < deadline, f"no end for {list(waiting.values())[:3]}"
        if broker.ready:
            due, keys = [], {waiting[row].key for row in flying if waiting[row].key}
            for row, event in waiting.items():
                if event.key and event.key in keys:
                    continue
                keys.add(event.key)
                if row not in flying and again_at.get(row, 0.0) <= now:
                    due.append(event)
            flying.update(event.row for event in due)
            if due:
                broker.send(due)
        for outcome in broker.outcomes(0.05):
            assert outcome.row in flying, f"not asked for: {outcome}"
            flying.discard(outcome.row)
            if outcome.kind is Kind.UNKNOWN:
                again_at[outcome.row] = time.monotonic() + 0.1
            else:
                ended[outcome.row] = outcome
                del waiting[outcome.row]
    return ended


class BrokerContract:
    """The promises of ``django_strangler.brokers.base.Broker``."""

    def test_is_ready_and_has_no_trouble_once_open(self, broker):
        until_ready(broker)

        assert broker.trouble == ""

    def test_confirms_what_a_queue_took(self, broker, far):
        far.bind("mail", "payment.*")
        events = [outgoing(row, "payment.completed") for row in range(1, 4)]

        until_ready(broker).send(events)

        assert kinds(collect(broker, [1, 2, 3])) == {Kind.CONFIRMED}
        assert far.received("mail", 3) == [event.id for event in events]

    def test_keeps_the_order_of_one_send_and_of_the_next(self, broker, far):
        far.bind("all", "#")
        events = [outgoing(row, f"test.n{row % 7}") for row in range(1, 501)]

        until_ready(broker)
        for start in range(0, 500, 100):
            broker.send(events[start : start + 100])

        assert kinds(collect(broker, range(1, 501))) == {Kind.CONFIRMED}
        assert far.received("all", 500) == [event.id for event in events]

    def test_returns_what_no_queue_wants_and_only_that(self, broker, far):
        far.bind("mail", "payment.*")
        events = [
            outgoing(1, "payment.completed"),
            outgoing(2, "user.created"),
            outgoing(3, "payment.failed"),
        ]

        until_ready(broker).send(events)

        found = collect(broker, [1, 2, 3])
        assert [found[row].kind for row in (1, 2, 3)] == [
            Kind.CONFIRMED,
            Kind.RETURNED,
            Kind.CONFIRMED,
        ]
        assert found[2].reason
        assert far.received("mail", 2) == [events[0].id, events[2].id]

    def test_reports_each_event_once(self, broker, far):
        far.bind("mail", "payment.*")
        until_ready(broker)

        broker.send([outgoing(row, "payment.completed") for row in range(1, 101)])
        broker.send([outgoing(row, "user.created") for row in range(101, 201)])

        collect(broker, range(1, 201))  # Fails on a second one.
        assert broker.outcomes(0.05) == []

    def test_the_same_event_may_be_sent_again(self, broker, far):
        far.bind("mail", "payment.*")
        event = outgoing(1, "payment.completed")
        until_ready(broker)

        for _ in range(2):
            broker.send([event])
            assert kinds(collect(broker, [1])) == {Kind.CONFIRMED}

        assert far.received("mail", 2) == [event.id, event.id]

    def test_a_probe_is_confirmed_or_returned_like_any_other_event(self, broker, far):
        far.bind("mail", "payment.*")

        until_ready(broker).send([outgoing(1)], probe=True)
        broker.send([outgoing(2, "user.created")], probe=True)

        found = collect(broker, [1, 2])
        assert [found[1].kind, found[2].kind] == [Kind.CONFIRMED, Kind.RETURNED]
        assert far.received("mail", 1) == [outgoing(1).id]

    def test_takes_nothing_for_nothing(self, broker):
        until_ready(broker).send([])

        assert broker.outcomes(0.05) == []

    def test_waits_for_outcomes_no_longer_than_asked(self, broker):
        until_ready(broker)

        assert broker.outcomes(0.2) == []
        assert broker.outcomes(0) == []

    def test_is_not_ready_once_it_is_closed(self, broker):
        until_ready(broker).send([outgoing(1, "payment.completed")])

        broker.close()

        assert not broker.ready
        broker.close()  # Again does no harm.


class RemoteBrokerContract(BrokerContract):
    """And of those whose far side can be away while this side is not."""

    def test_when_it_breaks_down_nothing_is_left_without_an_outcome(self, broker, far):
        far.bind("mail", "payment.*")
        events = [outgoing(row, "payment.completed") for row in range(1, 201)]
        until_ready(broker).send(events)

        far.lose_connections()

        found = collect(broker, range(1, 201))
        assert kinds(found) <= {Kind.CONFIRMED, Kind.UNKNOWN}
        assert all(each.reason for each in found.values() if each.kind is Kind.UNKNOWN)
        assert kinds(deliver(broker, events)) == {Kind.CONFIRMED}

    def test_says_what_is_wrong_and_mends_itself(self, broker, far):
        far.bind("mail", "payment.*")
        until_ready(broker)

        far.break_down()

        wait_for(lambda: broker.outcomes(0.05) == [] and not broker.ready)
        assert broker.trouble
        far.mend()
        until_ready(broker)
        assert broker.trouble == ""
        assert kinds(deliver(broker, [outgoing(1, "payment.completed")])) == {
            Kind.CONFIRMED
        }

    def test_what_is_sent_while_it_is_not_ready_is_unknown(self, broker, far):
        far.bind("mail", "payment.*")
        until_ready(broker)
        far.break_down()
        wait_for(lambda: broker.outcomes(0.05) == [] and not broker.ready)

        broker.send([outgoing(1, "payment.completed")])

        assert kinds(collect(broker, [1])) == {Kind.UNKNOWN}
        far.mend()

    def test_wakes_who_waits_for_outcomes_when_it_becomes_ready(self, broker, far):
        until_ready(broker)
        far.break_down()
        wait_for(lambda: broker.outcomes(0.05) == [] and not broker.ready)

        far.mend()

        deadline = time.monotonic() + PATIENCE
        while not broker.ready:
            assert broker.outcomes(PATIENCE) == []
        assert time.monotonic() < deadline
