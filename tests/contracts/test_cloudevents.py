"""CloudEvents in binary mode, over RabbitMQ, read by the official SDKs."""

from __future__ import annotations

import json
import subprocess

import pytest
from cloudevents.core.bindings import amqp, rabbitmq
from cloudevents.core.formats.json import JSONFormat

from django_strangler.brokers.rabbitmq import Limits
from django_strangler.brokers.rabbitmq.urls import parse
from django_strangler.exceptions import ConfigurationError
from tests.brokers.conftest import make_rabbit, rabbit
from tests.brokers.contract import collect, until_ready
from tests.brokers.factories import outgoing
from tests.brokers.rabbit import with_options

from .conftest import TYPE, value

__all__ = ["make_rabbit", "rabbit"]

WANTED = {
    "specversion": "1.0",
    "id": "00000000-0000-0000-0000-000000000007",
    "source": "shop%20one",
    "type": TYPE,
    "subject": "orders.order:7",
    "partitionkey": "orders.order:7",
    "correlationid": "checkout-9",
    "datacontenttype": "application/json",
    "dataschema": f"urn:contract:{TYPE}:2",
    "deprecated": "true",
    "deprecationsunset": "2030-03-01T00:00:00Z",
}
EVENT = outgoing(
    7,
    TYPE,
    key="orders.order:7",
    body='{"id":"a"}',
    correlation_id="checkout-9",
    headers={"contract-version": 2, "flag-notifications-v2": "on"},
)


@pytest.fixture
def sent(world, rabbit, make_rabbit):
    """What arrives of an event that is sent in this dialect."""
    world.declare(TYPE, value(id=str), version=2, until="2030-03-01")

    def send(fast: bool = True, **options: str):
        rabbit.bind("all", "#")
        broker = make_rabbit(
            with_options(rabbit.url, **options),
            exchange=rabbit.exchange,
            source="shop one",
            limits=Limits(fast=fast),
        )
        until_ready(broker)
        broker.send([EVENT])
        collect(broker, {EVENT.row})
        ((_method, properties, body),) = rabbit.take("all", 1)
        return properties, body

    return send


@pytest.mark.parametrize("fast", [True, False])
def test_the_python_sdk_reads_what_is_written_for_rabbitmq(sent, fast):
    properties, body = sent(cloudevents="ce", fast=fast)

    event = rabbitmq.from_binary(
        rabbitmq.RabbitMQMessage(properties.headers, properties.content_type, body),
        JSONFormat(),
    )

    attributes = dict(event.get_attributes())
    assert attributes.pop("time") == EVENT.published_at
    assert attributes == WANTED
    assert event.get_data() == {"id": "a"}


def test_the_python_sdk_reads_what_is_written_for_amqp(sent):
    properties, body = sent(cloudevents="amqp")

    event = amqp.from_binary(
        amqp.AMQPMessage(
            {"content-type": properties.content_type}, properties.headers, body
        ),
        JSONFormat(),
    )

    attributes = dict(event.get_attributes())
    assert attributes.pop("time") == EVENT.published_at
    assert attributes == WANTED
    assert event.get_data() == {"id": "a"}


def test_the_sdk_for_node_reads_it(sent, contract_tools):
    properties, body = sent(cloudevents="ce")
    headers = {**properties.headers, "content-type": properties.content_type}

    done = subprocess.run(
        ["node", "cloudevent.js"],
        cwd=contract_tools,
        input=json.dumps({"headers": headers, "body": body.decode()}),
        capture_output=True,
        text=True,
        timeout=200,
    )

    assert done.returncode == 0, done.stderr
    event = json.loads(done.stdout)
    assert event.pop("data") == {"id": "a"}
    assert event.pop("time").startswith("2025-03-01T12:30:15.000")
    assert event == WANTED


def test_our_own_headers_and_the_body_stay(sent):
    with_it, body = sent(cloudevents="amqp")
    without, same_body = sent()

    own = {
        name: value
        for name, value in with_it.headers.items()
        if not name.startswith("cloudEvents_")
    }
    assert (own, body) == (without.headers, same_body)


def test_a_dialect_that_is_none_is_refused():
    assert parse("amqp://?cloudevents=ce").cloudevents == "ce"
    with pytest.raises(ConfigurationError, match="needs amqp or ce for cloudevents"):
        parse("amqp://?cloudevents=on")
