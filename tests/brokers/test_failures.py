"""
RabbitMQ's bad days, on a real one.

Each test asserts the same: one line in the log says what and what to do, nothing is
lost, it goes on without a restart, and no password is told.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress

import pytest

from django_strangler.brokers import Kind
from django_strangler.brokers.rabbitmq import blame, carrier, stream
from tests.brokers.contract import collect, deliver, kinds, until_ready, wait_for
from tests.brokers.factories import outgoing
from tests.brokers.rabbit import with_options
from tests.services.base import Unavailable

SECRET = "s3cret-Pa55"
QUICK = {"heartbeat": 1, "confirm_timeout": 1, "connection_timeout": 1}


@pytest.fixture(autouse=True)
def no_password_is_told(log, private_rabbitmq):
    yield
    log.holds_no([SECRET, private_rabbitmq.password])


@pytest.fixture
def rabbit(private_rabbit):
    private_rabbit.bind("all", "#")
    return private_rabbit


@pytest.fixture
def node(private_rabbitmq):
    return private_rabbitmq


def events(first: int, last: int, type: str = "payment.completed"):
    return [
        outgoing(row, type, key=f"payments:{row}") for row in range(first, last + 1)
    ]


def vhost_of(rabbit) -> str:
    return rabbit.url.rpartition("/")[2]


@contextmanager
def user(node, rabbit, *, configure="", write=".*", topic=None):
    """Someone else, who may do less."""
    name, vhost = "writer", vhost_of(rabbit)
    with suppress(Unavailable):
        node.ctl("delete_user", name)
    node.ctl("add_user", name, SECRET)
    node.ctl("set_permissions", "-p", vhost, name, configure, write, "")
    if topic is not None:
        node.ctl("set_topic_permissions", "-p", vhost, name, rabbit.exchange, topic, "")
    yield with_options(rabbit.url, user=name, password=SECRET)
    node.ctl("delete_user", name)


def test_publish_only_credentials_suffice(node, rabbit, make_rabbit, log):
    with user(node, rabbit) as url:
        broker = make_rabbit(url, exchange=rabbit.exchange)

        assert kinds(deliver(broker, events(1, 10))) == {Kind.CONFIRMED}

        assert log.lines == []
    assert set(rabbit.received("all", 10)) == {each.id for each in events(1, 10)}


def test_a_wrong_password_is_said_once_and_corrected_without_a_restart(
    node, rabbit, make_rabbit, log
):
    with user(node, rabbit) as url:
        wrong = "wr0ng-" + SECRET
        broker = make_rabbit(
            with_options(url, password=wrong), exchange=rabbit.exchange
        )
        wait_for(lambda: log.count("refuses the login of 'writer'"))
        broker.send(events(1, 1))
        assert kinds(collect(broker, [1])) == {Kind.UNKNOWN}
        assert "refuses the login" in broker.trouble
        node.ctl("change_password", "writer", wrong)

        assert kinds(deliver(broker, events(1, 5))) == {Kind.CONFIRMED}
    assert log.count("refuses the login") == 1
    assert log.count("Correct user and password") == 1
    assert log.count("well again") == 1


def test_a_wrong_vhost_is_said_once_and_waited_for(node, rabbit, make_rabbit, log):
    url = with_options(rabbit.url, path="/not-yet-there")
    broker = make_rabbit(url, exchange=rabbit.exchange)
    wait_for(lambda: log.count("has no virtual host 'not-yet-there'"))
    assert not broker.ready

    node.ctl("add_vhost", "not-yet-there")
    node.ctl("set_permissions", "-p", "not-yet-there", "guest", ".*", ".*", ".*")

    until_ready(broker)
    assert log.count("has no virtual host") == 1
    assert log.count("well again") == 1
    broker.close()
    node.ctl("delete_vhost", "not-yet-there")


def test_a_missing_exchange_that_may_not_be_declared_is_waited_for(
    node, private_rabbit, make_rabbit, log
):
    rabbit = private_rabbit
    with user(node, rabbit) as url:
        broker = make_rabbit(url, exchange=rabbit.exchange)
        wait_for(lambda: log.count("does not exist, and may not be declared"))
        assert not broker.ready
        broker.send(events(1, 5))
        assert kinds(collect(broker, range(1, 6))) == {Kind.UNKNOWN}

        rabbit.bind("all", "#")

        assert kinds(deliver(broker, events(1, 5))) == {Kind.CONFIRMED}
    assert log.count("does not exist") == 1
    assert log.count("Create it") == 1
    assert log.count("well again") == 1


def test_an_exchange_that_disappears_is_waited_for_and_never_declared_anew(
    rabbit, make_rabbit, log
):
    broker = make_rabbit(rabbit.url, exchange=rabbit.exchange)
    assert kinds(deliver(broker, events(1, 5))) == {Kind.CONFIRMED}
    rabbit.delete_exchange()

    broker.send(events(6, 105))

    assert kinds(collect(broker, range(6, 106))) == {Kind.UNKNOWN}
    wait_for(lambda: log.count("does not exist"))
    assert not broker.ready
    rabbit.bind("all", "#")  # Nobody has made it meanwhile with other queues, or none.
    assert kinds(deliver(broker, events(6, 105))) == {Kind.CONFIRMED}
    assert set(rabbit.received("all", 105)) == {each.id for each in events(1, 105)}
    assert log.count("does not exist") == 1
    assert log.count("well again") == 1


def test_an_exchange_of_another_type_is_not_used(private_rabbit, make_rabbit, log):
    rabbit = private_rabbit
    rabbit.declare_exchange("fanout")
    broker = make_rabbit(rabbit.url, exchange=rabbit.exchange)
    wait_for(lambda: log.count("is not of type topic"))
    assert not broker.ready
    assert "'fanout'" in broker.trouble

    rabbit.delete_exchange()
    rabbit.bind("all", "#")

    assert kinds(deliver(broker, events(1, 5))) == {Kind.CONFIRMED}
    assert log.count("is not of type topic") == 1
    assert log.count("well again") == 1


def test_a_forbidden_routing_key_is_found_and_held(
    node, rabbit, make_rabbit, log, monkeypatch
):
    monkeypatch.setattr(blame, "HOLD", 1.0)
    with user(node, rabbit, topic=r"^payment\.") as url:
        broker = make_rabbit(url, exchange=rabbit.exchange)
        fine = events(1, 300)
        bad = events(301, 320, "secret.leaked")
        mixed = fine[:150] + bad[:10] + fine[150:] + bad[10:]

        until_ready(broker).send(mixed)
        found = collect(broker, [each.row for each in mixed])

        rejected = [each for each in found.values() if each.kind is Kind.REJECTED]
        [only] = rejected
        assert only.row in range(301, 321)
        assert only.final
        assert "secret.leaked" in only.reason
        rest = [each for each in fine if found[each.row].kind is not Kind.CONFIRMED]
        assert kinds(deliver(broker, rest)) <= {Kind.CONFIRMED}
        waiting = [each for each in bad if each.row != only.row]
        broker.send(waiting)
        held = collect(broker, [each.row for each in waiting])
        assert kinds(held) == {Kind.UNKNOWN}
        assert sum(each.reason.startswith("held: ") for each in held.values()) >= 18

        node.ctl(
            *("set_topic_permissions", "-p", vhost_of(rabbit), "writer"),
            *(rabbit.exchange, ".*", ""),
        )

        assert kinds(deliver(broker, waiting)) == {Kind.CONFIRMED}
    assert log.count("may not be sent") == 1
    assert log.count("Give the user write permission") == 1
    assert log.count("may be sent again") == 1
    assert rabbit.ids("all") == {each.id for each in fine + waiting}


def test_only_a_forbidden_type_in_sight_is_found_as_well(node, rabbit, make_rabbit):
    with user(node, rabbit, topic=r"^payment\.") as url:
        broker = make_rabbit(url, exchange=rabbit.exchange)

        until_ready(broker).send(events(1, 10, "secret.leaked"))

        found = collect(broker, range(1, 11))
        assert [each.kind for each in found.values()].count(Kind.REJECTED) == 1
        assert kinds(found) == {Kind.REJECTED, Kind.UNKNOWN}
        assert kinds(deliver(broker, events(11, 20))) == {Kind.CONFIRMED}


def test_when_nothing_at_all_may_be_sent_nothing_is_rejected(
    node, rabbit, make_rabbit, log
):
    with user(node, rabbit, write="^nothing$") as url:
        broker = make_rabbit(url, exchange=rabbit.exchange)
        until_ready(broker)
        mixed = events(1, 5) + events(6, 10, "user.created")
        broker.send(mixed)
        assert kinds(collect(broker, range(1, 11))) == {Kind.UNKNOWN}
        wait_for(lambda: log.count("refuses every event"))

        node.ctl("set_permissions", "-p", vhost_of(rabbit), "writer", "", ".*", "")

        assert kinds(deliver(broker, mixed)) == {Kind.CONFIRMED}
    assert log.count("refuses every event") == 1
    assert log.count("well again") == 1


def test_a_queue_that_is_full_is_back_pressure(
    private_rabbit, make_rabbit, log, monkeypatch
):
    monkeypatch.setattr(carrier, "QUIET", 0.5)
    rabbit = private_rabbit
    rabbit.bind("all", "#", **{"x-max-length": 10, "x-overflow": "reject-publish"})
    broker = make_rabbit(rabbit.url, exchange=rabbit.exchange)
    until_ready(broker)
    arrived = set()

    broker.send(events(1, 100))

    found = collect(broker, range(1, 101))
    assert kinds(found) == {Kind.CONFIRMED, Kind.UNKNOWN}
    nacked = [each for each in found.values() if each.kind is Kind.UNKNOWN]
    assert all(each.reason.startswith("nacked: ") for each in nacked)
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
    assert log.count("a queue refuses events (basic.nack)") == 1
    assert log.count("Let its consumers catch up") == 1

    def take_one():
        arrived.update(rabbit.ids("all"))
        deliver(broker, events(101, 101))
        return log.count("well again")

    wait_for(take_one)


def test_a_queue_that_refuses_a_channel_for_ever_is_tried_over_another(
    node, private_rabbit, make_rabbit, log, monkeypatch
):
    # RabbitMQ 3.10 does not tell a channel when a quorum queue's limit is taken away.
    rabbit = private_rabbit
    rabbit.bind("all", "#", **{"x-queue-type": "quorum"})
    monkeypatch.setattr(carrier, "RENEW", 2.0)
    url = with_options(rabbit.url, confirm_timeout=1)
    broker = make_rabbit(url, exchange=rabbit.exchange)
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
    assert log.count("a queue refuses events (basic.nack)") == 1


def test_a_memory_alarm_is_reported_and_waited_for(node, rabbit, make_rabbit, log):
    # Longer blocked than the confirm timeout: while blocked, it does not count.
    broker = make_rabbit(
        with_options(rabbit.url, confirm_timeout=1), exchange=rabbit.exchange
    )
    assert kinds(deliver(broker, events(1, 5))) == {Kind.CONFIRMED}
    watermark = node.ctl("eval", "vm_memory_monitor:get_vm_memory_high_watermark().")
    node.ctl("set_vm_memory_high_watermark", "0.00001")
    try:
        broker.send(events(6, 10))
        wait_for(lambda: not broker.ready)
        assert broker.trouble == "blocked: low on memory"
        assert collect_for(broker, 1.6) == []
    finally:
        node.ctl("set_vm_memory_high_watermark", watermark.strip())

    assert kinds(collect(broker, range(6, 11))) == {Kind.CONFIRMED}
    until_ready(broker)
    assert set(rabbit.received("all", 10)) == {each.id for each in events(1, 10)}
    assert log.count("blocked: low on memory") == 1
    assert log.count("well again") == 1


def collect_for(broker, seconds):
    """Whatever is reported within a span of time."""
    found, over = [], threading.Event()
    timer = threading.Timer(seconds, over.set)
    timer.start()
    while not over.is_set():
        found += broker.outcomes(0.05)
    return found


def test_a_message_over_the_limit_is_found_and_rejected(node, rabbit, make_rabbit, log):
    limit = "application:set_env(rabbit, max_message_size, {})."
    before = node.ctl(
        "eval", "application:get_env(rabbit, max_message_size, 134217728)."
    )
    node.ctl("eval", limit.format(1000))
    try:
        broker = make_rabbit(rabbit.url, exchange=rabbit.exchange)
        many = events(1, 200) + events(201, 400, "user.created")
        for row in (50, 120, 300):
            many[row - 1] = outgoing(
                row, many[row - 1].type, body='"' + "x" * 1500 + '"'
            )

        found = deliver(broker, many)
    finally:
        node.ctl("eval", limit.format(before.strip()))

    rejected = {row for row, each in found.items() if each.kind is Kind.REJECTED}
    assert rejected == {50, 120, 300}
    assert all(found[row].final and "1502" in found[row].reason for row in rejected)
    assert rabbit.ids("all") == {each.id for each in many if each.row not in rejected}
    assert log.count("bytes was refused") == 1
    assert log.count("MAX_PAYLOAD_BYTES") == 1


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_a_broker_that_is_gone_is_waited_for(node, rabbit, make_rabbit, log, way):
    broker = make_rabbit(rabbit.url, exchange=rabbit.exchange)
    many = events(1, 500)
    until_ready(broker).send(many)
    getattr(node, way)()
    found = collect(broker, range(1, 501))
    rest = [each for each in many if found[each.row].kind is Kind.UNKNOWN]
    wait_for(lambda: not broker.ready)
    node.start()

    deliver(broker, rest, patience=60)

    until_ready(broker)
    assert rabbit.ids("all") == {each.id for each in many}
    assert log.count("well again") == 1
    assert 1 <= len(log.lines) - 1 <= 3  # It was lost, and cannot be reached.


def test_a_paused_broker_is_noticed(node, rabbit, make_rabbit, log):
    broker = make_rabbit(with_options(rabbit.url, **QUICK), exchange=rabbit.exchange)
    until_ready(broker)
    node.pause()
    try:
        broker.send(events(1, 300))

        assert kinds(collect(broker, range(1, 301))) == {Kind.UNKNOWN}
        assert not broker.ready
    finally:
        node.resume()

    assert kinds(deliver(broker, events(1, 300))) == {Kind.CONFIRMED}
    assert rabbit.ids("all") == {each.id for each in events(1, 300)}
    assert log.count("confirmed nothing for 1 s") + log.count("no heartbeat") == 1
    assert log.count("well again") == 1


def test_a_paused_broker_is_noticed_while_there_is_nothing_to_send(
    node, rabbit, make_rabbit, log
):
    broker = make_rabbit(with_options(rabbit.url, **QUICK), exchange=rabbit.exchange)
    until_ready(broker)
    node.pause()
    try:
        wait_for(lambda: not broker.ready)
    finally:
        node.resume()

    until_ready(broker)
    assert log.count("no heartbeat") == 1
    assert log.count("well again") == 1


def test_a_connection_closed_by_the_operator_comes_back(node, rabbit, make_rabbit, log):
    broker = make_rabbit(rabbit.url, exchange=rabbit.exchange)
    until_ready(broker).send(events(1, 10))
    collect(broker, range(1, 11))

    node.ctl(
        "close_all_connections", "--vhost", vhost_of(rabbit), "maintenance tonight"
    )

    wait_for(lambda: log.count("well again"))
    assert kinds(deliver(broker, events(11, 20))) == {Kind.CONFIRMED}
    assert log.count("maintenance tonight") == 1
    assert log.count("well again") == 1


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_network_that_swallows_one_way_is_noticed(
    rabbit, make_rabbit, log, direction
):
    url = with_options(rabbit.url, port=rabbit.proxy.port, **QUICK)
    broker = make_rabbit(url, exchange=rabbit.exchange)
    until_ready(broker)
    rabbit.proxy.black_hole(direction)

    broker.send(events(1, 300))

    assert kinds(collect(broker, range(1, 301))) == {Kind.UNKNOWN}
    assert not broker.ready
    rabbit.proxy.heal()
    assert kinds(deliver(broker, events(1, 300))) == {Kind.CONFIRMED}
    assert rabbit.ids("all") == {each.id for each in events(1, 300)}
    assert log.count("confirmed nothing") + log.count("no heartbeat") == 1
    assert log.count("well again") == 1


def test_another_node_takes_over(rabbit, node, make_rabbit, make_proxy, log):
    proxies = [rabbit.proxy, make_proxy(node)]
    urls = [with_options(rabbit.url, port=each.port, **QUICK) for each in proxies]
    broker = make_rabbit(*urls, exchange=rabbit.exchange)
    until_ready(broker)
    broker.send(events(1, 200))
    first = next(each for each in proxies if each.connections)

    first.refuse()

    found = collect(broker, range(1, 201))
    rest = [e for e in events(1, 200) if found[e.row].kind is Kind.UNKNOWN]
    deliver(broker, rest)
    until_ready(broker)
    assert [bool(each.connections) for each in proxies] == [
        each is not first for each in proxies
    ]
    assert rabbit.ids("all") == {each.id for each in events(1, 200)}
    assert log.count("well again") == 1
    assert len(log.lines) <= 3


def test_an_hour_of_trouble_rejects_nothing(rabbit, make_rabbit, log):
    """In short: the same over and over, with every kind of it."""
    url = with_options(rabbit.url, port=rabbit.proxy.port, **QUICK)
    broker = make_rabbit(url, exchange=rabbit.exchange)
    until_ready(broker)
    for _ in range(5):
        broker.send(events(1, 50))
        rabbit.proxy.cut()
        assert kinds(collect(broker, range(1, 51))) <= {Kind.CONFIRMED, Kind.UNKNOWN}
        until_ready(broker)

    assert kinds(deliver(broker, events(1, 50))) == {Kind.CONFIRMED}


def test_pika_itself_says_nothing_on_our_thread(node, rabbit, make_rabbit, log):
    with user(node, rabbit) as url:
        broker = make_rabbit(
            with_options(url, password="wr0ng"), exchange=rabbit.exchange
        )
        wait_for(lambda: log.count("refuses the login"))
        broker.close()

    assert log.of_pika() == []


def test_a_bug_of_ours_does_not_end_the_sending(rabbit, make_rabbit, log, monkeypatch):
    broker = make_rabbit(rabbit.url, exchange=rabbit.exchange)
    until_ready(broker)
    monkeypatch.setattr(stream.Stream, "_send_alone", lambda self: 1 / 0)
    broker.send(events(1, 10))
    found = collect(broker, range(1, 11))
    assert kinds(found) <= {Kind.UNKNOWN, Kind.CONFIRMED}
    monkeypatch.undo()

    assert kinds(deliver(broker, events(1, 10))) == {Kind.CONFIRMED}
    assert log.count("failed unexpectedly") >= 1
