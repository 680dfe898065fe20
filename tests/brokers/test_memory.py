"""memory:// keeps the contract, and fails in every way that is asked of it."""

from __future__ import annotations

import pytest

from django_strangler.brokers import Kind, make_broker, memory
from django_strangler.conf import Settings
from tests.brokers.contract import RemoteBrokerContract, collect, kinds
from tests.brokers.factories import outgoing


class MemoryFarSide:
    def __init__(self, exchange: memory.MemoryExchange) -> None:
        self.exchange = exchange
        self.bind = exchange.bind
        self.lose_connections = exchange.lose_connections
        self.mend = exchange.mend

    def received(self, queue: str, count: int) -> list[str]:
        return [event.id for event in self.exchange.queues[queue]]

    def break_down(self) -> None:
        self.exchange.mend(trouble="down, on request")


@pytest.fixture
def exchange():
    memory.exchange().reset()
    yield memory.exchange()
    memory.exchange().reset()


@pytest.fixture
def broker(exchange):
    broker = make_broker(Settings(broker_url=("memory://",)))
    broker.open()
    yield broker
    broker.close()


class TestMemory(RemoteBrokerContract):
    @pytest.fixture
    def far(self, exchange):
        return MemoryFarSide(exchange)


def test_accepts_everything_while_no_queue_was_ever_bound(broker):
    broker.send([outgoing(1), outgoing(2, "user.created")])

    assert kinds(collect(broker, [1, 2])) == {Kind.CONFIRMED}
    assert [event.row for event in broker.sent] == [1, 2]


@pytest.mark.parametrize("kind", [Kind.UNKNOWN, Kind.RETURNED, Kind.REJECTED])
def test_refuses_the_next_of_a_type_on_request(broker, exchange, kind):
    exchange.fail(kind, "too large", pattern="payment.*", final=True)

    broker.send([outgoing(1, "user.created"), outgoing(2), outgoing(3)])

    found = collect(broker, [1, 2, 3])
    assert (found[2].kind, found[2].reason, found[2].final) == (kind, "too large", True)
    assert [event.row for event in broker.sent] == [1, 3]


def test_accepts_an_event_and_loses_its_confirm_on_request(broker, exchange):
    exchange.fail(None, accepted=True)

    broker.send([outgoing(1), outgoing(2)])

    assert list(collect(broker, [2])) == [2]
    assert broker.outcomes(0.02) == []
    assert [event.row for event in broker.sent] == [1, 2]
    exchange.lose_connections()
    assert kinds(collect(broker, [1])) == {Kind.UNKNOWN}


def test_reports_late_and_in_another_order_on_request(broker, exchange):
    exchange.hold_outcomes()
    broker.send([outgoing(1), outgoing(2), outgoing(3)])
    assert broker.outcomes(0.02) == []

    exchange.release_outcomes()

    assert [outcome.row for outcome in broker.outcomes(1)] == [3, 2, 1]


def test_each_broker_is_told_of_what_it_sent_itself(broker, exchange):
    other = make_broker(Settings(broker_url=("memory://",)))
    other.open()

    broker.send([outgoing(1)])
    other.send([outgoing(2)])

    assert list(collect(broker, [1])) == [1]
    assert list(collect(other, [2])) == [2]
    assert [event.row for event in other.sent] == [1, 2]
