"""Whatever is published: no crash, no copy elsewhere, every good neighbour handled."""

from __future__ import annotations

import io
from typing import Any
from uuid import UUID

import pytest
from django.core.management import call_command
from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_strangler import subscribe
from tests.waiting import wait_for

from .conftest import effect, effects

EXAMPLES = 40

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=40)
    | st.binary(max_size=40)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(min_size=1, max_size=10), inner, max_size=3)
    ),
    max_leaves=8,
)
names = st.sampled_from(
    [
        "strangler-key",
        "strangler-published-at",
        "strangler-failed-times",
        "strangler-failed-given-up",
        "strangler-from-user",
        "strangler-from-key",
        "traceparent",
        "tracestate",
        "flag-x",
        "x-death",
        "x-delivery-count",
        "cc",
    ]
) | st.text(min_size=1, max_size=20)
short = st.text(max_size=60).filter(lambda text: len(text.encode()) < 256)


@pytest.fixture
def db(sqlite_db, routed):
    """What is tested here is no database's business, and this one is made at once."""
    return routed(sqlite_db)


def test_nothing_that_can_be_published_does_harm(db, broker, vhost, registry, consume):
    victim = vhost.own("victim")
    broker.channel.queue_declare(victim, durable=True)
    subscribe("payment.*", name="fine")(lambda event: effect(db, "good"))
    running = consume("payment.*", retry_delays=())
    sent: list[UUID] = []

    @given(
        body=st.binary(max_size=200) | st.just(b"{}"),
        headers=st.dictionaries(names, values, max_size=5),
        properties=st.fixed_dictionaries(
            {},
            optional={
                "type": short,
                "correlation_id": short,
                "reply_to": short,
                "app_id": short,
                "content_type": short,
                "content_encoding": short,
                "priority": st.integers(0, 255),
                "timestamp": st.integers(0, 2**63 - 1),
                "expiration": st.sampled_from(["600000"]),
            },
        ),
        id=short | st.uuids().map(str),
    )
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def publish(
        body: bytes, headers: dict[str, Any], properties: dict[str, Any], id: str
    ) -> None:
        addresses = {"CC": [victim, broker.queue]}
        properties.setdefault("type", "payment.completed")
        broker.publish(
            body,
            id=id or None,
            routing_key="payment.completed",
            headers={**headers, **addresses},
            **properties,
        )
        sent.append(UUID(broker.publish()))

    publish()

    wait_for(lambda: running.totals.handled + running.totals.dead == 2 * len(sent), 120)
    handled, dead = running.totals.handled, running.totals.dead
    assert running.thread.is_alive()
    assert handled >= len(sent)
    wait_for(lambda: broker.depth(".dead") == dead)
    assert broker.channel.queue_declare(victim, passive=True).method.message_count == 0
    wait_for(lambda: broker.left() == 0)  # It counts what was there seconds ago.
    assert effects(db, "good") <= handled

    for action in ("list", "show", "discard"):
        out = io.StringIO()
        given_settings = {"BROKER_URL": broker.url, "EXCHANGE": broker.exchange}
        with override_settings(STRANGLER=given_settings):
            call_command(
                "dead_letters",
                action,
                "--queue",
                broker.queue,
                *(["--all", "--no-input"] if action == "discard" else []),
                stdout=out,
            )
        assert all(line.isprintable() for line in out.getvalue().split("\n"))
    assert broker.depth(".dead") == 0
