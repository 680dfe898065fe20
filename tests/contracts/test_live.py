"""What a change would strand: rows, dead letters and bindings that are there now."""

from __future__ import annotations

from typing import Annotated

import pika
import pytest
from django.db import transaction

from django_strangler import publish_event
from django_strangler.clock import DatabaseNow
from django_strangler.contracts import limits
from django_strangler.models import ConsumerProcess, OutboxEvent
from tests.consumer.conftest import broker, consume, routed
from tests.waiting import wait_for

from .conftest import TYPE, value

__all__ = ["broker", "consume", "routed"]
Small = Annotated[int, limits(least=0, most=9)]


def live(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("LIVE")]


def test_rows_that_new_readers_cannot_read_are_counted(world, any_db, routed):
    routed(any_db)
    with transaction.atomic(using=any_db):
        for total in (None, None, 5):
            payload = {"id": "a"} if total is None else {"id": "a", "total": total}
            publish_event(TYPE, payload)
    OutboxEvent.objects.using(any_db).filter(body='{"id":"a","total":5}').update(
        parked_at=DatabaseNow(), parked_reason="attempts"
    )
    world.need("billing", {"properties": {"total": {"minimum": 6}}})

    world.change(value("Placed", id=str), value("Placed", id=str, total=Small))
    _code, said = world.run("check")

    assert live(said) == [
        f"LIVE   {TYPE}  2 pending in the outbox: Placed itself cannot read 2",
        f"LIVE   {TYPE}  1 parked in the outbox: billing cannot read 1",
    ]


def test_nothing_is_asked_where_nothing_breaks(
    world, django_assert_num_queries, sqlite_db, routed
):
    routed(sqlite_db)
    world.change(value(id=str), value(id=str, note=(str, "")))

    with django_assert_num_queries(0):
        assert live(world.run("check")[1]) == []


def test_an_outbox_that_cannot_be_looked_at_is_told(world, settings):
    world.change(value(id=str), value(id=str, total=Small))
    world.write()

    code, said = world.run("check", "--not-live")
    assert (code, live(said)) == (0, [])


def test_dead_letters_that_cannot_be_read_are_counted(
    world, sqlite_db, routed, broker, consume, settings
):
    from django_strangler import subscribe

    routed(sqlite_db)
    old = world.declare(TYPE, value("Placed", id=str, total=Small))
    subscribe(old, name="labels")(lambda event: None)
    running = consume(TYPE, retry_delays=())
    broker.publish({"id": "a"}, type=TYPE)
    broker.publish({"id": 7}, type=TYPE)
    wait_for(lambda: broker.depth(".dead") == 2, 60)
    running.finish()
    ConsumerProcess.objects.using(sqlite_db).create(name="a", queue=broker.queue)
    settings.STRANGLER = {"BROKER_URL": broker.url, "EXCHANGE": broker.exchange}

    world.write()
    world.declare(TYPE, value("Placed", id=str))
    _code, said = world.run("check")

    letters = live(said)[0]
    assert letters == (
        f"LIVE   {TYPE}  2 in the dead letters of {broker.queue}: labels cannot read "
        "2, Placed itself cannot read 1"
    )
    assert broker.depth(".dead") == 2


@pytest.mark.slow
def test_queues_that_are_bound_are_named(
    world, sqlite_db, routed, private_rabbitmq, private_vhost, settings
):
    routed(sqlite_db)
    connection = pika.BlockingConnection(pika.URLParameters(private_vhost.url))
    channel = connection.channel()
    channel.exchange_declare("domain-events", "topic", durable=True)
    channel.queue_declare("shipping", durable=True)
    channel.queue_bind("shipping", "domain-events", "order.*")
    connection.close()
    settings.STRANGLER = {"BROKER_URL": private_vhost.url}
    world.change(value(id=str, note=str), value(id=str))

    _code, said = world.run("check", "--management", private_rabbitmq.management_url)
    assert live(said) == [f"LIVE   {TYPE}  bound for it now: shipping"]

    _code, said = world.run("check", "--management", "http://127.0.0.1:1")
    assert "the broker cannot be looked at: RabbitMQ's management API" in live(said)[0]
