"""One sick queue stops nobody else: on a cluster of two nodes, one of which dies."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pika
import pytest

from django_strangler.brokers import Broker, Cause, Kind, Outcome, Outgoing
from tests import waiting
from tests.brokers.contract import until_ready, wait_for
from tests.brokers.failures.common import events
from tests.brokers.rabbit import open_broker, with_options
from tests.services.fixtures import needed
from tests.services.rabbitmq import RABBITMQ, another_node

EXCHANGE, STUCK, FINE = "bulkheads", "stuck.notified", "fine.settled"


@pytest.fixture(scope="module")
def cluster(request):
    """Two nodes, started for these tests: the second may be killed."""
    with needed("A RabbitMQ cluster", request) as services:
        first = services.start_private(RABBITMQ)
        second = services.start_private(another_node(first))
    yield first, second
    second.close()
    first.close()


@pytest.fixture
def first(cluster):
    """The first node: ``stuck.*`` goes to a queue on both, ``fine.*`` on it alone."""
    first, second = cluster
    second.start()
    # A node that has just come back may not take part in a new queue yet.
    waiting.wait_for(partial(declare, first.url), ignoring=(pika.exceptions.AMQPError,))
    for node in cluster:
        node.settle()
    return first


def declare(url: str) -> bool:
    with open_channel(url) as channel:
        channel.exchange_declare(EXCHANGE, "topic", durable=True)
        for name, nodes in (("stuck", 2), ("fine", 1)):
            quorum = {"x-queue-type": "quorum", "x-quorum-initial-group-size": nodes}
            channel.queue_delete(name)
            channel.queue_declare(name, durable=True, arguments=quorum)
            channel.queue_bind(name, EXCHANGE, f"{name}.*")
    return True


class open_channel:
    def __init__(self, url: str) -> None:
        self.connection = pika.BlockingConnection(pika.URLParameters(url))

    def __enter__(self) -> Any:
        return self.connection.channel()

    def __exit__(self, *_error: object) -> None:
        self.connection.close()


@pytest.fixture
def broker(first):
    url = with_options(first.url, confirm_timeout=4)
    broker = open_broker(url, exchange=EXCHANGE)
    yield until_ready(broker)
    broker.close()


@dataclass
class Holding:
    """Sends like a relay that holds types: what is held is sent no more."""

    broker: Broker
    waiting: dict[int, Outgoing]
    window: int = 200
    held: dict[str, Cause] = field(default_factory=dict)
    sent: Counter[int] = field(default_factory=Counter)
    confirmed: set[int] = field(default_factory=set)
    _flying: set[int] = field(default_factory=set)

    def turn(self) -> None:
        if self.broker.ready:
            free = [
                event
                for row, event in self.waiting.items()
                if row not in self._flying and event.type not in self.held
            ][: self.window - len(self._flying)]
            self._flying.update(event.row for event in free)
            self.sent.update(event.row for event in free)
            self.broker.send(free)
        for outcome in self.broker.outcomes(0.05):
            self._take(outcome)

    def _take(self, outcome: Outcome) -> None:
        self._flying.discard(outcome.row)
        if outcome.kind is Kind.CONFIRMED:
            self.confirmed.add(outcome.row)
            self.waiting.pop(outcome.row, None)
        elif outcome.cause.holds_type:
            self.held[self.waiting[outcome.row].type] = outcome.cause

    def until(self, condition: Any, patience: float = 120.0) -> None:
        deadline = time.monotonic() + patience
        while not condition():
            assert time.monotonic() < deadline, (self.held, len(self.waiting))
            self.turn()


def probe(broker: Broker, event: Outgoing) -> Outcome:
    broker.send([event], probe=True)
    found: list[Outcome] = []
    wait_for(lambda: found.extend(broker.outcomes(0.1)) or found, patience=120)
    return found[0]


@pytest.mark.parametrize("pending", [1, 20, 1000])
def test_a_queue_without_a_majority_holds_its_type_and_no_other(
    cluster, broker, log, pending
):
    _, second = cluster
    stuck = events(1, pending, STUCK)
    fine = events(5001, 8000, FINE)
    second.kill()
    # One of the stuck ones stands in front of all others.
    relay = Holding(broker, {each.row: each for each in [*stuck, *fine]})

    relay.until(lambda: {each.row for each in fine} <= relay.confirmed)

    assert relay.held.keys() == {STUCK}
    assert max(relay.sent[each.row] for each in stuck) == 1
    # Nothing was sent again but what was under way when the link was renewed.
    assert sum(relay.sent.values()) - len(relay.sent) <= relay.window
    assert log.count(f"does not confirm events of type '{STUCK}'") == 1


def test_a_queue_that_blocks_the_channel_is_found_long_before_the_confirm_timeout(
    cluster, first, log
):
    _, second = cluster
    url = with_options(first.url, confirm_timeout=60)
    stuck, fine = events(1, 20, STUCK), events(5001, 7000, FINE)
    with closing(open_broker(url, exchange=EXCHANGE)) as broker:
        until_ready(broker)
        second.kill()
        relay = Holding(broker, {each.row: each for each in [*stuck, *fine]})

        relay.until(lambda: {each.row for each in fine} <= relay.confirmed)

    assert relay.held == {STUCK: Cause.OVERDUE}


def test_a_probe_that_is_not_confirmed_hinders_nobody_and_one_that_is_opens(
    cluster, broker, log
):
    _, second = cluster
    second.kill()
    [stuck] = events(1, 1, STUCK)
    assert probe(broker, stuck).cause is Cause.OVERDUE

    broker.send([stuck], probe=True)
    relay = Holding(broker, {each.row: each for each in events(2, 2000, FINE)})
    relay.until(lambda: not relay.waiting)

    second.start()
    wait_for(partial(_is_confirmed, broker, stuck), patience=150)
    assert log.count(f"events of type '{STUCK}' are taken again") == 1


def _is_confirmed(broker: Broker, event: Outgoing) -> bool:
    return probe(broker, event).kind is Kind.CONFIRMED


def test_a_full_queue_gives_its_neighbour_no_more_than_events_and_probes(
    cluster, first, broker, log
):
    with open_channel(first.url) as channel:
        full = {"x-max-length": 10, "x-overflow": "reject-publish"}
        channel.queue_delete("full")
        channel.queue_declare("full", durable=True, arguments=full)
        channel.queue_bind("full", EXCHANGE, "full.*")
        channel.queue_purge("fine")
        channel.queue_bind("fine", EXCHANGE, "full.*")
        many = events(1, 500, "full.notified")
        relay = Holding(broker, {each.row: each for each in many})
        relay.until(lambda: relay.held and not relay._flying)
        probes = 20

        for _ in range(probes):
            assert probe(broker, many[-1]).cause is Cause.NACKED

        copies = channel.queue_declare("fine", passive=True).method.message_count
        channel.queue_unbind("fine", EXCHANGE, "full.*")
    assert relay.held == {"full.notified": Cause.NACKED}
    assert copies <= len(many) + probes
    assert log.count("a queue refuses events of type 'full.notified'") == 1
