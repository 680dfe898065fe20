"""Each subscriber has its own policy, and each version its own subscribers."""

from __future__ import annotations

import itertools
import threading

import pika
import pytest
from django.core.exceptions import ObjectDoesNotExist
from django.core.management import call_command
from django.core.management.base import CommandError

from django_strangler import subscribe
from django_strangler.clock import DatabaseNow
from django_strangler.events import Event
from django_strangler.exceptions import InvalidSubscriber
from django_strangler.inbox.models import ConsumerProcess
from tests.inbox.databases import end_connection
from tests.waiting import wait_for

from .conftest import effect, effects, entries


def dead(broker):
    return wait_for(broker.get, message="a dead letter")


def test_a_final_error_is_not_tried_again_and_the_others_are(
    db, broker, registry, consume
):
    calls = {"final": 0, "shaky": 0}

    @subscribe("payment.*", name="final", final_errors=[ObjectDoesNotExist])
    def final(event: Event) -> None:
        calls["final"] += 1
        raise ObjectDoesNotExist("gone")

    @subscribe("payment.*", name="shaky")
    def shaky(event: Event) -> None:
        calls["shaky"] += 1
        if calls["shaky"] < 5:
            raise ValueError("not yet")
        effect(db)

    running = consume()
    id = broker.publish()
    properties, _ = dead(broker)

    assert calls["shaky"] == 5
    assert calls["final"] == 3  # With the first delivery's tries for shaky's sake.
    assert entries(db) == {("shaky", id)}
    error = properties.headers["strangler-failed-error"]
    assert "final: ObjectDoesNotExist: gone" in error
    assert running.totals.dead == 1


def test_a_final_error_alone_is_a_dead_letter_at_once(db, broker, registry, consume):
    calls = []

    @subscribe("payment.*", name="final", final_errors=ObjectDoesNotExist)
    def final(event: Event) -> None:
        calls.append(event)
        raise ObjectDoesNotExist("gone")

    consume()
    broker.publish()
    properties, _ = dead(broker)

    assert len(calls) == 1
    assert properties.headers["strangler-failed-times"] == 1


def test_a_subscriber_has_delays_of_its_own(db, broker, registry, consume):
    @subscribe("payment.*", name="slow", retry_delays=[0.05])
    def slow(event: Event) -> None:
        raise ValueError("never")

    consume(retry_delays=(0.05, 0.1), given={"delays": (0.1, 0.1, 0.1)})
    broker.publish()
    properties, _ = dead(broker)

    assert properties.headers["strangler-failed-times"] == 2


@pytest.mark.parametrize(
    "options",
    [
        {"trusted": "relay"},
        {"trusted": []},
        {"retry_delays": [0]},
        {"retry_delays": ["soon"]},
        {"final_errors": ["ValueError"]},
    ],
)
def test_a_policy_that_cannot_be_is_refused(registry, options):
    with pytest.raises(InvalidSubscriber, match="'odd'"):
        subscribe("a.b", name="odd", **options)


def test_a_subscriber_that_costs_its_own_connection_fails_at_the_third_time(
    postgresql_db, routed, broker, registry, consume
):
    db = routed(postgresql_db)
    calls = []

    @subscribe("payment.*", name="greedy")
    def greedy(event: Event) -> None:
        calls.append(event)
        end_connection(db)
        effect(db)

    subscribe("payment.*", name="fine")(lambda event: effect(db))
    consume(retry_delays=())
    id = broker.publish()
    properties, _ = dead(broker)

    assert len(calls) == 3
    assert "greedy: DatabaseGone" in properties.headers["strangler-failed-error"]
    assert effects(db) == 1
    assert entries(db) == {("fine", id)}


def test_order_in_a_process_holds_over_a_lost_connection(
    db, broker, registry, consume, monkeypatch
):
    # If pika chose, at random, the second consumer's tag might come before the first's.
    tags = itertools.count(100, -1)
    monkeypatch.setattr(
        pika.channel.Channel,
        "_generate_consumer_tag",
        lambda channel: f"ctag{next(tags):03}",
    )
    seen: list[int] = []
    entered, go_on = threading.Event(), threading.Event()

    @subscribe("payment.*", name="ordered")
    def ordered(event: Event) -> None:
        if not go_on.is_set():
            entered.set()
            assert go_on.wait(55)
            raise ValueError("a deadlock, say")
        seen.append(event.payload["n"])

    running = consume()
    for n in (1, 2):
        broker.publish({"n": n}, key="k")
    assert entered.wait(60)
    session = running.consumer.source._session
    broker.cut_consumers()
    # It may be connected anew before anybody sees that it was not.
    wait_for(lambda: running.consumer.source._session is not session)
    go_on.set()
    wait_for(lambda: len(seen) >= 2)

    assert seen == [1, 2]


def beside(db, broker, *lines: str) -> None:
    """Another live consumer of the queue, with these subscribers."""
    ConsumerProcess.objects.using(db).create(
        name="another",
        queue=broker.queue,
        subscribers="\n".join(lines),
        expires_at=DatabaseNow(60),
    )


def test_what_a_newer_consumer_knows_is_left_to_it(db, broker, registry, consume):
    subscribe("payment.*", name="old")(lambda event: effect(db))
    beside(db, broker, "old payment.*", "audit payment.completed")
    running = consume(retry_delays=(600.0,))
    wait_for(lambda: running.consumer._row.lacking("payment.completed"))
    known = broker.publish(type="payment.failed")
    left = broker.publish()
    wait_for(lambda: broker.depth(".retry.600s") == 1)

    properties, _ = broker.get(".retry.600s")
    assert properties.message_id == left
    assert properties.headers["strangler-failed-times"] == 0
    wait_for(lambda: entries(db) == {("old", known), ("old", left)})


def test_it_can_be_told_to_take_them_all_the_same(db, broker, registry, consume):
    subscribe("payment.*", name="old")(lambda event: effect(db))
    beside(db, broker, "audit payment.*")
    running = consume(given={"beside_newer": True})
    wait_for(lambda: running.consumer._row.lacking("payment.completed"))
    published = broker.publish()
    wait_for(lambda: running.totals.handled == 1)
    assert entries(db) == {("old", published)}


def test_a_consumer_is_for_the_subscribers_that_are_named(
    db, broker, registry, consume
):
    subscribe("payment.*", name="mine")(lambda event: effect(db, "mine"))
    subscribe("payment.*", name="theirs")(lambda event: effect(db, "theirs"))
    (mine,) = [each for each in registry.all() if each.name == "mine"]
    running = consume(given={"subscribers": [mine]})
    broker.publish()
    wait_for(lambda: running.totals.handled == 1)

    assert (effects(db, "mine"), effects(db, "theirs")) == (1, 0)


def test_an_unknown_subscriber_is_a_wrong_usage(registry):
    subscribe("payment.*", name="mine")(print)

    with pytest.raises(CommandError, match="These are registered: mine") as raised:
        call_command("consume_events", queue="q", subscribers=["yours"])

    assert raised.value.returncode == 2
