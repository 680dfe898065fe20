"""A broker, a network or a connection that goes, hangs and comes back."""

from __future__ import annotations

import errno

import pytest
from pika.adapters.utils import io_services_utils

from django_strangler.brokers import Kind
from django_strangler.brokers.rabbitmq import event_channel
from tests.brokers.contract import collect, deliver, kinds, until_ready, wait_for
from tests.brokers.failures.common import (
    QUICK,
    events,
    user,
    vhost_of,
)
from tests.brokers.rabbit import with_options


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

    deliver(broker, rest, patience=120)

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
    assert log.count("confirmed nothing for 3 s") + log.count("no heartbeat") == 1
    assert log.count("well again") == 1


def test_a_paused_broker_is_noticed_while_there_is_nothing_to_send(
    node, rabbit, make_rabbit, log
):
    url = with_options(rabbit.url, **{**QUICK, "heartbeat": 2})
    broker = make_rabbit(url, exchange=rabbit.exchange)
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


@pytest.fixture
def hangs(private_rabbit, node, make_proxy):
    """hangs(broker): what it has sent to the one node hangs; the other node is well."""
    private_rabbit.proxies = [private_rabbit.proxy, make_proxy(node)]

    def hang(broker):
        until_ready(broker)
        [proxy] = [each for each in private_rabbit.proxies if each.connections]
        proxy.black_hole()
        return proxy

    return hang


def urls(rabbit, **options):
    return [
        with_options(rabbit.url, port=proxy.port, **options) for proxy in rabbit.proxies
    ]


def test_a_channel_that_hangs_is_given_up_though_all_pass_over_another(
    private_rabbit, hangs, make_rabbit, log
):
    private_rabbit.bind("all", "#")
    broker = make_rabbit(
        *urls(private_rabbit, **QUICK), exchange=private_rabbit.exchange
    )
    hangs(broker)

    broker.send([*events(1, 1, "one.happened"), *events(2, 2, "other.happened")])

    wait_for(lambda: log.count("confirmed nothing for"))
    assert kinds(collect(broker, [1, 2])) == {Kind.CONFIRMED}
    assert kinds(deliver(broker, events(3, 3))) == {Kind.CONFIRMED}


def test_a_late_return_is_not_taken_for_that_of_a_later_copy(
    private_rabbit, hangs, make_rabbit
):
    private_rabbit.bind("fine", "fine.*")
    broker = make_rabbit(*urls(private_rabbit), exchange=private_rabbit.exchange)
    hanging = hangs(broker)
    [stray], [fine] = events(1, 1, "stray.noticed"), events(2, 2, "fine.settled")
    broker.send([stray, fine])
    # The copy that was sent apart, over the other node.
    wait_for(lambda: private_rabbit.ids("fine"))

    hanging.heal()

    assert collect(broker, [1, 2])[1].kind is Kind.RETURNED
    private_rabbit.bind("stray", "stray.*")
    assert kinds(deliver(broker, [stray])) == {Kind.CONFIRMED}


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


def test_a_proxy_that_accepts_and_resets_is_a_lost_connection(
    rabbit, make_rabbit, log, monkeypatch
):
    def __init__(self, *args, **options):
        # As pika does when the reset is there before it looks.
        try:
            raise ConnectionResetError(errno.ENOTCONN, "not connected")
        except OSError:
            raise ValueError("Expected connected socket") from None

    with monkeypatch.context() as broken:
        broken.setattr(io_services_utils._AsyncStreamConnector, "__init__", __init__)
        broker = make_rabbit(rabbit.url, exchange=rabbit.exchange)
        wait_for(lambda: log.count("not connected"))

    assert kinds(deliver(broker, events(1, 10))) == {Kind.CONFIRMED}
    assert log.count("failed unexpectedly") == 0


def test_a_bug_of_ours_does_not_end_the_sending(rabbit, make_rabbit, log, monkeypatch):
    broker = make_rabbit(rabbit.url, exchange=rabbit.exchange)
    until_ready(broker)
    monkeypatch.setattr(event_channel.EventChannel, "publish", lambda *_: 1 / 0)
    broker.send(events(1, 10))
    found = collect(broker, range(1, 11))
    assert kinds(found) <= {Kind.UNKNOWN, Kind.CONFIRMED}
    monkeypatch.undo()

    assert kinds(deliver(broker, events(1, 10))) == {Kind.CONFIRMED}
    assert log.count("failed unexpectedly") >= 1
