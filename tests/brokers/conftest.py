"""Fixtures for brokers that talk to a real RabbitMQ."""

from __future__ import annotations

import logging

import pytest

from tests.brokers.rabbit import LogBook, RabbitSide, open_broker


@pytest.fixture
def rabbit(vhost, rabbitmq, make_proxy):
    """A vhost on the RabbitMQ that all tests share."""
    return RabbitSide(vhost, make_proxy(rabbitmq))


@pytest.fixture
def private_rabbit(private_vhost, private_rabbitmq, make_proxy):
    """A vhost on a RabbitMQ that may be stopped and killed."""
    return RabbitSide(private_vhost, make_proxy(private_rabbitmq))


@pytest.fixture
def make_rabbit():
    """make_rabbit(url, …, exchange=…): an open RabbitMQBroker."""
    brokers = []

    def make(*urls, **settings):
        brokers.append(open_broker(*urls, **settings))
        return brokers[-1]

    yield make

    for broker in brokers:
        broker.close()


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO)
    return LogBook(caplog)
