"""Who may say what: types, decisions, ids and attempts are taken on nobody's word."""

from __future__ import annotations

import pytest
from django.test import override_settings

from django_strangler import subscribe
from django_strangler.events import Event, Publisher
from django_strangler.outbox.relay import Relay
from tests.inbox.factories import publish
from tests.waiting import wait_for

from .conftest import effect, effects, entries


@pytest.fixture
def db(sqlite_db, routed):
    """What is tested here is no database's business, and this one is made at once."""
    return routed(sqlite_db)


def dead(broker):
    return wait_for(broker.get, message="a dead letter")


def test_a_type_that_is_not_the_routing_key_is_a_dead_letter(
    db, broker, registry, consume
):
    """The broker checks who may use a routing key; nobody checks the type."""
    subscribe("payment.completed", name="ledger")(lambda event: effect(db))
    subscribe("public.*", name="guests")(lambda event: None)
    consume("payment.*", "public.*")
    broker.publish(type="payment.completed", routing_key="public.ping")
    properties, _ = dead(broker)

    assert properties.headers["strangler-failed-reason"] == "mislabelled"
    assert "'public.ping'" in properties.headers["strangler-failed-error"]
    assert effects(db) == 0


def test_a_retried_delivery_is_still_of_its_type(db, broker, registry, consume):
    calls: list[Event] = []

    @subscribe("payment.*", name="shaky")
    def shaky(event: Event) -> None:
        calls.append(event)
        if len(calls) < 5:  # Two deliveries with three tries each.
            raise ValueError("not yet")

    running = consume()
    broker.publish(app_id="shop")
    wait_for(lambda: running.totals.handled == 1)

    assert {event.type for event in calls} == {"payment.completed"}
    assert {event.source for event in calls} == {Publisher(name="shop", vouched=False)}


def test_the_source_is_the_user_for_whom_the_broker_vouches(
    db, broker, registry, consume
):
    seen: list[Event] = []
    subscribe("payment.*", name="fine")(seen.append)
    consume()
    broker.publish(user_id=broker.user, app_id="anything")
    broker.publish(app_id="claimed")
    wait_for(lambda: len(seen) == 2)

    assert [event.source for event in seen] == [
        Publisher(name=broker.user, vouched=True),
        Publisher(name="claimed", vouched=False),
    ]


@pytest.mark.parametrize("claim", [{}, {"app_id": "relay"}])
def test_a_type_can_be_kept_for_publishers_that_are_named(
    db, broker, registry, consume, claim
):
    seen: list[Event] = []
    subscribe("#", name="all")(seen.append)
    rules = {"payment.*": [broker.user], "#.secret": ["nobody"]}
    consume("#", strangler={"TRUSTED_PUBLISHERS": rules})
    broker.publish(headers={"flag-notifications": "on"}, **claim)
    broker.publish(type="payment.secret", user_id=broker.user)
    broker.publish(type="user.signup", **claim)
    broker.publish(user_id=broker.user)
    first, second = dead(broker), dead(broker)
    wait_for(lambda: len(seen) == 2)

    assert {each.type for each in seen} == {"user.signup", "payment.completed"}
    for properties, _ in (first, second):
        assert properties.headers["strangler-failed-reason"] == "untrusted"


def test_a_subscriber_takes_events_of_those_it_trusts_and_others_take_all(
    db, broker, registry, consume
):
    careful: list[Event] = []
    subscribe("payment.*", name="careful", trusted=[broker.user])(careful.append)
    subscribe("payment.*", name="easy")(lambda event: effect(db))
    consume()
    forged = broker.publish(app_id=broker.user)
    good = broker.publish(user_id=broker.user)
    properties, _ = dead(broker)
    wait_for(lambda: effects(db) == 2 and careful)

    assert properties.message_id == forged
    assert properties.headers["strangler-failed-reason"] == "untrusted"
    assert [str(event.id) for event in careful] == [good]
    wait_for(
        lambda: entries(db) == {("easy", forged), ("easy", good), ("careful", good)}
    )


def test_another_content_under_a_handled_id_is_a_dead_letter(
    db, broker, registry, consume
):
    """Whoever saw an id, or guessed it, claims it first; the real event is not lost."""
    subscribe("payment.*", name="ledger")(lambda event: effect(db))
    running = consume()
    id = broker.publish({"forged": True})
    wait_for(lambda: running.totals.handled == 1)
    broker.publish({"amount": 100}, id=id)
    broker.publish({"forged": True}, id=id)
    properties, body = dead(broker)
    wait_for(lambda: running.totals.handled == 2)

    assert body == b'{"amount": 100}'
    assert properties.headers["strangler-failed-reason"] == "another content"
    assert effects(db) == 1


def test_attempts_that_a_publisher_claims_do_not_count(db, broker, registry, consume):
    calls = []

    @subscribe("payment.*", name="broken")
    def broken(event: Event) -> None:
        calls.append(event)
        raise ValueError("no")

    consume()
    broker.publish(
        headers={
            "strangler-failed-times": 99,
            "strangler-failed-given-up": "broken",
            "strangler-from-user": "relay",
        },
        app_id="shop",
    )
    properties, _ = dead(broker)

    assert properties.headers["strangler-failed-times"] == 3
    assert len(calls) == 3 * 3
    assert calls[0].source == Publisher(name="shop", vouched=False)


def test_what_a_relay_sends_is_vouched_for(db, broker, registry, consume):
    seen: list[Event] = []
    subscribe("payment.*", name="fine", trusted=[broker.user])(seen.append)
    consume(strangler={"TRUSTED_PUBLISHERS": {"payment.*": [broker.user]}})
    publish(using=db)

    with override_settings(
        STRANGLER={"BROKER_URL": broker.url, "EXCHANGE": broker.exchange}
    ):
        Relay(db, steady=False).drain()
    wait_for(lambda: seen)

    assert seen[0].source == Publisher(name=broker.user, vouched=True)
