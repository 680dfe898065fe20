"""Queues, connections and processes that come and go."""

from __future__ import annotations

import logging
import threading
from types import SimpleNamespace

import pika.exceptions
import pytest

from django_strangler import subscribe
from django_strangler.brokers.base import WorkQueue
from django_strangler.events import Event
from django_strangler.exceptions import BrokerError
from django_strangler.inbox.consumer_row import ConsumerRow
from django_strangler.inbox.models import ConsumerProcess
from tests.waiting import wait_for

from .conftest import effect, effects, entries


def test_without_declaring_the_queues_have_to_be_there(db, broker, registry, consume):
    subscribe("payment.*", name="any")(lambda event: None)

    running = consume(declare=False, wait=False)
    running.thread.join(60)

    (error,) = running.errors
    assert isinstance(error, BrokerError)
    assert f"'{broker.queue}.copies' cannot be used" in str(error)


def test_without_declaring_queues_are_used_as_they_are(db, broker, registry, consume):
    seen: list[Event] = []
    subscribe("payment.*", name="any")(seen.append)
    copies = broker.queue + ".copies"
    broker.channel.exchange_declare(copies, "direct", durable=True)
    for suffix in ("", ".dead", ".retry.50ms", ".retry.100ms"):
        broker.channel.queue_declare(broker.queue + suffix, durable=True)
        broker.channel.queue_bind(broker.queue + suffix, copies)
    broker.channel.exchange_declare(broker.exchange, "topic", durable=True)
    broker.channel.queue_bind(broker.queue, broker.exchange, "payment.completed")

    consume(declare=False)
    id = broker.publish()

    wait_for(lambda: seen)
    assert [str(event.id) for event in seen] == [id]


def test_a_queue_that_exists_with_other_properties_is_explained(
    db, broker, registry, consume
):
    broker.channel.queue_declare(broker.queue, durable=True)

    running = consume(wait=False)
    running.thread.join(60)

    (error,) = running.errors
    assert "exists with other properties" in str(error)
    assert "--no-declare" in str(error)


def test_bindings_are_added_named_when_unwanted_and_removed_on_request(
    db, broker, registry, consume, caplog
):
    subscribe("payment.*", "user.#", name="all")(lambda event: effect(db))

    def run(*patterns, **options):
        """Until it has written its row, which it does when it takes deliveries."""
        before = ConsumerProcess.objects.using(db).count()
        running = consume(*patterns, **options)
        wait_for(lambda: ConsumerProcess.objects.using(db).count() > before)
        running.finish()

    run("payment.*", "user.#")

    with caplog.at_level(logging.WARNING):
        run("payment.*")
    assert "bound for 'user.#', which no subscriber wants" in caplog.text
    broker.publish(type="user.signup")
    assert wait_for(lambda: broker.depth() == 1)

    caplog.clear()
    run("payment.*", unbind=("user.#",))
    run("payment.*")
    assert "no subscriber wants" not in caplog.text
    with pytest.raises(pika.exceptions.UnroutableError):
        broker.publish(type="user.signup")


def test_a_consumer_is_seen_in_the_database(db, broker, registry, consume):
    running = consume()
    row = wait_for(lambda: ConsumerProcess.objects.using(db).first())

    assert row.queue == broker.queue
    assert row.expires_at > row.started_at
    running.finish()
    row.refresh_from_db()
    assert ConsumerProcess.objects.using(db).count() == 1


def test_a_consumer_whose_row_was_deleted_is_seen_again(db):
    source = SimpleNamespace(queue=WorkQueue(name="bank", patterns=("payment.*",)))
    row = ConsumerRow(source, [])
    row._show()
    ConsumerProcess.objects.using(db).all().delete()

    row._shown = float("-inf")
    row._show()

    (found,) = ConsumerProcess.objects.using(db).filter(queue="bank")
    assert found.patterns == "payment.*"


def test_stopping_finishes_what_is_in_hand_and_returns_the_rest(
    db, broker, registry, consume
):
    begun, go_on = threading.Event(), threading.Event()

    @subscribe("payment.*", name="slow")
    def slow(event: Event) -> None:
        begun.set()
        assert go_on.wait(55)
        effect(db)

    running = consume(threads=1)
    for _ in range(5):
        broker.publish()
    assert begun.wait(60)
    running.stop.set()
    wait_for(lambda: running.consumer.source._paused)
    go_on.set()
    running.finish()

    assert effects(db) == 1
    assert wait_for(lambda: broker.depth() == 4)


def test_a_lost_connection_loses_and_repeats_no_effect(
    db, broker, registry, consume, make_proxy, rabbitmq
):
    subscribe("payment.*", name="once")(lambda event: effect(db))
    proxy = make_proxy(rabbitmq)
    url = broker.url.replace(f":{rabbitmq.port}/", f":{proxy.port}/")
    running = consume(url=url)
    for n in range(200):
        broker.publish()
        if n % 50 == 25:
            proxy.cut()
    wait_for(lambda: effects(db) == 200 and broker.depth() == 0)
    wait_for(lambda: running.consumer.source.ready)

    running.finish()
    assert effects(db) == 200
    assert broker.depth() == 0


def test_a_silent_broker_is_left_without_an_answer(
    db, broker, registry, consume, make_proxy, rabbitmq, caplog
):
    subscribe("payment.*", name="once")(lambda event: effect(db))
    proxy = make_proxy(rabbitmq)
    running = consume(url=broker.url.replace(f":{rabbitmq.port}/", f":{proxy.port}/"))
    broker.publish()
    wait_for(lambda: effects(db) == 1)

    proxy.black_hole()
    running.finish()

    assert not running.errors
    assert "unexpectedly" not in caplog.text
    wait_for(
        lambda: not [t for t in threading.enumerate() if t.name == "strangler-source"]
    )


def test_a_broker_that_goes_and_comes_is_waited_for(
    db, registry, consume, broker, private_rabbitmq, private_vhost
):
    broker.url = private_vhost.url
    subscribe("payment.*", name="once")(lambda event: effect(db))
    running = consume()
    private_rabbitmq.settle()
    broker.publish()
    wait_for(lambda: effects(db) == 1)

    broker.close()
    private_rabbitmq.stop()
    wait_for(lambda: not running.consumer.source.ready)
    private_rabbitmq.start()
    wait_for(lambda: running.consumer.source.ready, 60)
    broker.publish()

    wait_for(lambda: effects(db) == 2)
    assert not running.errors


def test_a_deleted_queue_is_declared_again(db, broker, registry, consume):
    subscribe("payment.*", name="once")(lambda event: effect(db))
    running = consume()
    broker.channel.queue_delete(broker.queue)
    # It is bound again, last of all that is declared.
    wait_for(broker.publish, ignoring=(pika.exceptions.UnroutableError,))
    assert running.thread.is_alive()

    wait_for(lambda: effects(db) == 1)


def test_when_a_retry_queue_is_gone_nothing_is_lost(db, broker, registry, consume):
    failures = [1, 2, 3]

    @subscribe("payment.*", name="shaky")
    def shaky(event: Event) -> None:
        if failures:
            failures.pop()
            raise ValueError("not yet")
        effect(db)

    consume()
    broker.channel.queue_delete(f"{broker.queue}.retry.50ms")
    broker.publish()

    wait_for(lambda: effects(db) == 1)
    assert not failures
    assert broker.depth(".dead") == 0


def test_a_database_that_is_away_is_waited_for_and_no_attempt_is_counted(
    make_db, private_postgresql, routed, broker, registry, consume, caplog
):
    db = routed(make_db(private_postgresql))
    subscribe("payment.*", name="once")(lambda event: effect(db))
    running = consume()
    broker.publish()
    wait_for(lambda: effects(db) == 1)

    private_postgresql.kill()
    for n in range(10):
        broker.publish(key=f"k{n % 3}")
    wait_for(lambda: "The database failed, and is waited for" in caplog.text)
    private_postgresql.start()
    from django.db import connections

    connections[db].close()

    wait_for(lambda: effects(db) == 11)
    assert (running.totals.retried, running.totals.dead) == (0, 0)
    assert len(entries(db)) == 11
