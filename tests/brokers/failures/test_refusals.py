"""A queue that is full, a node without memory, a message that is too large."""

from __future__ import annotations

import threading

from django_strangler.brokers import Cause, Kind
from django_strangler.brokers.rabbitmq import Limits
from tests.brokers.contract import collect, deliver, kinds, until_ready, wait_for
from tests.brokers.factories import outgoing
from tests.brokers.failures.common import (
    collect_for,
    events,
    vhost_of,
)
from tests.brokers.rabbit import with_options


def test_a_queue_that_is_full_is_back_pressure(private_rabbit, make_rabbit, log):
    rabbit = private_rabbit
    rabbit.bind("all", "#", **{"x-max-length": 10, "x-overflow": "reject-publish"})
    limits = Limits(calm=3.0)  # More than a machine may stand still.
    broker = make_rabbit(rabbit.url, exchange=rabbit.exchange, limits=limits)
    until_ready(broker)
    arrived = set()

    broker.send(events(1, 100))

    found = collect(broker, range(1, 101))
    assert kinds(found) == {Kind.CONFIRMED, Kind.UNKNOWN}
    nacked = [each for each in found.values() if each.kind is Kind.UNKNOWN]
    assert {each.cause for each in nacked} == {Cause.NACKED}
    assert broker.ready
    stop = threading.Event()

    def consume():
        while not stop.wait(0.05):
            arrived.update(rabbit.ids("all"))

    consumer = threading.Thread(target=consume)
    consumer.start()
    rest = [each for each in events(1, 100) if found[each.row].kind is Kind.UNKNOWN]
    try:
        assert kinds(deliver(broker, rest)) == {Kind.CONFIRMED}
    finally:
        stop.set()
        consumer.join()
    arrived.update(rabbit.ids("all"))
    assert arrived == {each.id for each in events(1, 100)}
    assert log.count("a queue refuses events of type") == 1
    assert log.count("Let its consumers catch up") == 1

    def take_one():
        arrived.update(rabbit.ids("all"))
        deliver(broker, events(101, 101))
        return log.count("are taken again")

    wait_for(take_one)


def test_a_queue_that_refuses_a_channel_for_ever_is_tried_over_another(
    node, private_rabbit, make_rabbit, log
):
    # RabbitMQ 3.10 does not tell a channel when a quorum queue's limit is taken away.
    rabbit = private_rabbit
    rabbit.bind("all", "#", **{"x-queue-type": "quorum"})
    broker = make_rabbit(rabbit.url, exchange=rabbit.exchange)
    assert kinds(deliver(broker, events(1, 5))) == {Kind.CONFIRMED}
    policy = ("-p", vhost_of(rabbit), "full")
    limit = '{"max-length": 1, "overflow": "reject-publish"}'
    node.ctl("set_policy", *policy, ".*", limit)

    def is_nacked():
        broker.send(events(6, 6))
        return kinds(collect(broker, [6])) == {Kind.UNKNOWN}

    wait_for(is_nacked)
    node.ctl("clear_policy", *policy)

    assert kinds(deliver(broker, events(7, 9))) == {Kind.CONFIRMED}
    assert log.count("a queue refuses events of type") == 1
    assert log.count("well again") == 0  # Another channel of the same connection.


def test_a_memory_alarm_is_reported_and_waited_for(node, rabbit, make_rabbit, log):
    # Longer blocked than the confirm timeout: while blocked, it does not count.
    broker = make_rabbit(
        with_options(rabbit.url, confirm_timeout=2), exchange=rabbit.exchange
    )
    assert kinds(deliver(broker, events(1, 5))) == {Kind.CONFIRMED}
    watermark = node.evaluate("vm_memory_monitor:get_vm_memory_high_watermark()")
    # Once it can say that it is alarmed, its connections have been told so.
    node.evaluate(
        "vm_memory_monitor:set_vm_memory_high_watermark(0.00001), "
        "rabbit_alarm:get_alarms()"
    )
    try:
        broker.send(events(6, 10))
        wait_for(lambda: not broker.ready)
        assert broker.is_blocked
        assert broker.trouble == "blocked: low on memory"
        assert collect_for(broker, 3.2) == []
    finally:
        node.evaluate(f"vm_memory_monitor:set_vm_memory_high_watermark({watermark})")

    assert kinds(collect(broker, range(6, 11))) == {Kind.CONFIRMED}
    until_ready(broker)
    assert set(rabbit.received("all", 10)) == {each.id for each in events(1, 10)}
    assert log.count("blocked: low on memory") == 1
    assert log.count("well again") == 1


def test_a_message_over_the_limit_is_found_and_rejected(node, rabbit, make_rabbit, log):
    # RabbitMQ 4 looks where it has put the setting when it started.
    limit = (
        "application:set_env(rabbit, max_message_size, {0}), "
        "persistent_term:put(max_message_size, {0})"
    )
    before = node.evaluate("application:get_env(rabbit, max_message_size, 134217728)")
    node.evaluate(limit.format(1000))
    try:
        broker = make_rabbit(rabbit.url, exchange=rabbit.exchange)
        many = events(1, 200) + events(201, 400, "user.created")
        for row in (50, 120, 300):
            many[row - 1] = outgoing(
                row, many[row - 1].type, body='"' + "x" * 1500 + '"'
            )

        found = deliver(broker, many)
    finally:
        node.evaluate(limit.format(before))

    rejected = {row for row, each in found.items() if each.kind is Kind.REJECTED}
    assert rejected == {50, 120, 300}
    assert all(found[row].final and "1502" in found[row].reason for row in rejected)
    assert rabbit.ids("all") == {each.id for each in many if each.row not in rejected}
    assert log.count("RabbitMQ refused event") == 3
    assert log.count("MAX_PAYLOAD_BYTES") == 3
