"""A RabbitMQ that may be hurt, and a look at all that was logged."""

from __future__ import annotations

import pytest

from tests.brokers.failures.common import SECRET


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
