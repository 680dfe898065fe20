"""RabbitMQ keeps the contract, and puts on the wire what is promised."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from urllib.parse import urlsplit

import pika
import pytest

from django_strangler.brokers import Kind
from django_strangler.brokers.rabbitmq import Limits, urls
from tests.brokers.contract import (
    RemoteBrokerContract,
    collect,
    kinds,
    until_ready,
    wait_for,
)
from tests.brokers.factories import outgoing
from tests.brokers.rabbit import with_options


class TestRabbitMQ(RemoteBrokerContract):
    @pytest.fixture
    def far(self, rabbit):
        return rabbit

    @pytest.fixture
    def broker(self, rabbit, make_rabbit):
        url = with_options(rabbit.url, port=rabbit.proxy.port)
        return make_rabbit(url, exchange=rabbit.exchange)


class TestRabbitMQByThePublicFaceOfPika(TestRabbitMQ):
    """As with a pika that has lost what makes it fast."""

    @pytest.fixture
    def broker(self, rabbit, make_rabbit):
        url = with_options(rabbit.url, port=rabbit.proxy.port)
        plain = Limits(fast=False)
        return make_rabbit(url, exchange=rabbit.exchange, limits=plain)


@pytest.mark.parametrize("fast", [True, False])
def test_a_message_is_to_the_letter_what_the_design_says(rabbit, make_rabbit, fast):
    rabbit.bind("all", "#")
    limits = Limits(fast=fast)
    broker = make_rabbit(
        rabbit.url, exchange=rabbit.exchange, source="shop", limits=limits
    )
    body = '{"amount": 1.2345678901234567e25, "name": "Zoë ☕", "paymentId": 7}'
    event = outgoing(
        7,
        "payment.completed",
        key="payments.payment:7",
        body=body,
        correlation_id="checkout-9",
        headers={
            "flag-notifications-v2": "on",
            "tenant": "bäckerei",
            "retries": 3,
            "big": 2**40,
            "test": True,
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "tracestate": "vendor=1",
        },
        published_at=datetime(
            2025, 3, 1, 14, 30, 15, 250, tzinfo=timezone(timedelta(hours=2))
        ),
    )

    until_ready(broker).send([event])

    assert kinds(collect(broker, [7])) == {Kind.CONFIRMED}
    [(method, properties, received)] = rabbit.take("all", 1)
    assert received == body.encode()
    assert json.loads(received)["paymentId"] == 7
    assert (method.exchange, method.routing_key) == (
        rabbit.exchange,
        "payment.completed",
    )
    assert {k: v for k, v in vars(properties).items() if v is not None} == {
        "message_id": event.id,
        "type": "payment.completed",
        "timestamp": 1740832215,
        "app_id": "shop",
        "user_id": urlsplit(rabbit.url).username,
        "content_type": "application/json",
        "delivery_mode": 2,
        "correlation_id": "checkout-9",
        "headers": {
            **event.headers,
            "strangler-key": "payments.payment:7",
            "strangler-published-at": "2025-03-01T12:30:15.000250+00:00",
        },
    }


def test_who_sends_it_is_left_out_where_that_is_wished(rabbit, make_rabbit):
    rabbit.bind("all", "#")
    url = with_options(rabbit.url, user_id="off")
    broker = make_rabbit(url, exchange=rabbit.exchange)

    until_ready(broker).send([outgoing(1)])

    collect(broker, [1])
    [(_, properties, _)] = rabbit.take("all", 1)
    assert properties.user_id is None


def test_to_be_known_by_another_name_is_no_event_s_fault(
    rabbit, make_rabbit, log, monkeypatch
):
    """As with OAuth 2: RabbitMQ refuses every event that names the URL's user."""
    rabbit.bind("all", "#")
    monkeypatch.setattr(urls, "_vouched_user", lambda *_: "somebody")
    broker = make_rabbit(rabbit.url, exchange=rabbit.exchange)

    until_ready(broker).send([outgoing(1)])

    assert kinds(collect(broker, [1])) == {Kind.UNKNOWN}
    wait_for(lambda: log.count("user_id property set to 'somebody'"))
    assert log.count("?user_id=off") == 1
    until_ready(broker)  # Connected anew, to wait for somebody to mend it.


def test_what_an_event_does_not_have_is_not_on_the_wire(rabbit, make_rabbit):
    rabbit.bind("all", "#")
    broker = make_rabbit(rabbit.url, exchange=rabbit.exchange)

    until_ready(broker).send([outgoing(1)])

    collect(broker, [1])
    [(_, properties, _)] = rabbit.take("all", 1)
    assert properties.correlation_id is None
    assert list(properties.headers) == ["strangler-published-at"]


@pytest.mark.parametrize("size", [2, 131_064, 131_065, 1_000_000])
def test_a_body_of_many_frames_arrives_whole(rabbit, make_rabbit, size):
    rabbit.bind("all", "#")
    broker = make_rabbit(rabbit.url, exchange=rabbit.exchange)
    body = '"' + "x" * (size - 2) + '"'

    until_ready(broker).send([outgoing(1, body=body), outgoing(2)])

    assert kinds(collect(broker, [1, 2])) == {Kind.CONFIRMED}
    assert [received for _, _, received in rabbit.take("all", 2)] == [
        body.encode(),
        b'{"paymentId": 2}',
    ]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"headers": {"price": 1.5}}, "1.5"),
        ({"headers": {"huge": 2**64}}, "64-bit"),
        ({"correlation_id": "x" * 256}, "255"),
        ({"headers": {"long": "x" * 140_000}}, "headers"),
        ({"headers": ["no", "headers"]}, "list"),
    ],
)
def test_what_amqp_cannot_hold_is_rejected_and_hurts_nobody(
    rabbit, make_rabbit, fields, reason
):
    rabbit.bind("all", "#")
    broker = make_rabbit(rabbit.url, exchange=rabbit.exchange)

    until_ready(broker).send([outgoing(1), outgoing(2, **fields), outgoing(3)])

    found = collect(broker, [1, 2, 3])
    assert found[2].kind is Kind.REJECTED
    assert found[2].final
    assert reason in found[2].reason
    assert found[1].kind is found[3].kind is Kind.CONFIRMED


def test_the_exchange_is_declared_where_it_never_was(rabbit, make_rabbit):
    broker = make_rabbit(rabbit.url, exchange=rabbit.exchange)

    until_ready(broker)

    with rabbit.channel() as channel:  # The same again; any other would be refused.
        found = channel.exchange_declare(rabbit.exchange, "topic", durable=True)
    assert isinstance(found.method, pika.spec.Exchange.DeclareOk)


def test_the_connection_has_a_name_that_tells_host_and_process(
    rabbit, rabbitmq, make_rabbit
):
    import os
    import socket

    if not rabbitmq.has_ctl:
        pytest.skip("no rabbitmqctl reaches this RabbitMQ")
    until_ready(make_rabbit(rabbit.url, exchange=rabbit.exchange))

    def names():
        return rabbitmq.ctl("list_connections", "client_properties")

    name = f"django-strangler {socket.gethostname()} {os.getpid()}"
    wait_for(lambda: name in names())


def test_pika_is_imported_for_rabbitmq_only():
    import subprocess
    import sys

    code = (
        "import sys, django; from django.conf import settings; settings.configure();"
        "from django_strangler.brokers import broker_class; broker_class(('memory://',));"
        "assert not [name for name in sys.modules if name.startswith('pika')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pika_has_the_private_function_that_makes_it_fast():
    assert callable(pika.SelectConnection._output_marshaled_frames)
