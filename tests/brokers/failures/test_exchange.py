"""An exchange that is missing, goes, or is another one."""

from __future__ import annotations

from django_strangler.brokers import Kind
from tests.brokers.contract import collect, deliver, kinds, wait_for
from tests.brokers.failures.common import (
    events,
    user,
)


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
