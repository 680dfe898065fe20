"""A saga's messages by way of a broker."""

from __future__ import annotations

from uuid import uuid4

from django_strangler.brokers.base import Delivery
from django_strangler.inbox.decoding import read
from django_strangler.sagas.messages import Address


def test_a_message_that_came_through_a_broker_still_says_what_it_belongs_to():
    address = Address(
        saga=uuid4(), turn=3, attempt=1, step="reserve", must=True
    ).sealed("saga.reply")
    delivery = Delivery(
        session=1,
        tag=1,
        routing_key="stock.reserve",
        id=str(uuid4()),
        type="stock.reserve",
        correlation_id=None,
        timestamp=None,
        headers={
            **address.headers(),
            "strangler-key": str(address.saga),
            "strangler-published-at": "2030-01-07T09:00:00+00:00",
            "strangler-unknown": "x",
            "strangler-sagacity": "x",
        },
        body=b"{}",
        properties=None,
    )

    event = read(delivery, max_bytes=100).event({})

    assert Address.of(event) == address
    assert event.headers == address.headers()
    assert Address.of(event).is_sealed("saga.reply")
