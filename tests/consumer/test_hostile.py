"""Whoever may publish can make dead letters, and do nothing else."""

from __future__ import annotations

import datetime
import io
import struct
import threading
from typing import Any

import pika
import pytest
from django.core.management import call_command
from django.test import override_settings

from django_strangler import subscribe
from django_strangler.brokers.rabbitmq import declare
from django_strangler.brokers.rabbitmq.link import Pauses, drop
from django_strangler.events import Event
from tests.waiting import wait_for

from .conftest import QUICK, effect, effects, entries


@pytest.fixture
def db(sqlite_db, routed):
    """What is tested here is no database's business, and this one is made at once."""
    return routed(sqlite_db)


def dead(broker):
    return wait_for(broker.get, message="a dead letter")


@pytest.fixture
def command(broker):
    """Run `dead_letters` and return what it prints."""

    def run(*arguments: str) -> str:
        out = io.StringIO()
        given = {"BROKER_URL": broker.url, "EXCHANGE": broker.exchange}
        with override_settings(STRANGLER=given):
            call_command(
                "dead_letters", *arguments, "--queue", broker.queue, stdout=out
            )
        return out.getvalue()

    return run


@pytest.fixture
def victim(broker, vhost):
    """A queue that is bound to nothing."""
    name = vhost.own("victim")
    broker.channel.queue_declare(name, durable=True)
    return name


def in_queue(broker, name: str) -> int:
    found = broker.channel.queue_declare(name, passive=True)
    return int(found.method.message_count)


@pytest.mark.parametrize("header", ["CC", "BCC"])
@pytest.mark.parametrize("body", [b"{", b"{}"], ids=["unreadable", "failing"])
def test_no_copy_goes_where_a_publisher_sends_it(
    db, broker, victim, registry, consume, command, header, body
):
    @subscribe("payment.*", name="broken")
    def broken(event: Event) -> None:
        raise ValueError("never")

    running = consume()
    addresses = [victim, broker.queue, f"{broker.queue}.dead"]
    broker.publish(body, headers={header: addresses})
    wait_for(lambda: running.totals.dead == 1 and broker.depth(".dead") == 1)
    command("requeue", "--all", "--no-input")
    wait_for(lambda: running.totals.dead == 2 and broker.depth(".dead") == 1)

    # RabbitMQ itself keeps to the exchange, where the publisher may write.
    assert in_queue(broker, victim) == 0
    wait_for(lambda: broker.left() == 0)  # It counts what was there seconds ago.


def published_raw(broker, monkeypatch, headers: dict[str, Any]) -> str:
    """With headers that pika writes if it is made to, and RabbitMQ takes."""

    def encode(pieces: list[bytes], value: Any) -> int:
        if isinstance(value, bytearray):
            pieces.append(bytes(value))
            return len(value)
        return original(pieces, value)

    original = pika.data.encode_value
    with monkeypatch.context() as patch:
        patch.setattr(pika.data, "encode_value", encode)
        return broker.publish(headers=headers)


def nested(depth: int) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for _ in range(depth):
        table = {"a": table}
    return table


UNDECODABLE = {
    "a date beyond all": bytearray(b"T" + struct.pack(">Q", 2**62)),
    "tables in tables": bytearray(
        b"F"
        + b"".join(struct.pack(">I", 7 * (400 - n) - 7) + b"\x01aF" for n in range(399))
        + struct.pack(">I", 0)
    ),
}


@pytest.mark.parametrize("value", UNDECODABLE.values(), ids=UNDECODABLE)
def test_a_header_that_pika_cannot_decode_stops_nobody(
    db, broker, registry, consume, monkeypatch, value
):
    subscribe("payment.*", name="fine")(lambda event: effect(db))
    running = consume()
    for _ in range(5):
        broker.publish()
    published_raw(broker, monkeypatch, {"x": value})
    for _ in range(5):
        broker.publish()

    wait_for(lambda: running.totals.handled == 11)
    assert effects(db) == 11
    assert broker.depth(".dead") == 0


@pytest.mark.parametrize("value", UNDECODABLE.values(), ids=UNDECODABLE)
def test_such_a_dead_letter_can_be_listed_shown_and_discarded(
    db, broker, registry, consume, command, monkeypatch, value
):
    consume().finish()
    with monkeypatch.context() as patch:
        patch.setattr(broker, "exchange", f"{broker.queue}.copies")
        for header in ({"x": value}, {"y": 1}):
            published = published_raw
            published(_To(broker, f"{broker.queue}.dead"), monkeypatch, header)

    assert "payment.completed" in command()
    assert "headers:" in command("show")
    assert "2 dead letters deleted" in command("discard", "--all", "--no-input")


class _To:
    """Publishes with another routing key."""

    def __init__(self, broker, key: str) -> None:
        self._broker, self._key = broker, key

    def publish(self, **options: Any) -> str:
        return self._broker.publish(routing_key=self._key, **options)


def test_a_key_that_cannot_be_decoded_is_no_detail(
    db, broker, registry, consume, monkeypatch
):
    subscribe("payment.*", name="fine")(lambda event: effect(db))
    consume()
    value = UNDECODABLE["a date beyond all"]
    published_raw(broker, monkeypatch, {"strangler-key": value})
    properties, _ = dead(broker)

    assert "strangler-key" in properties.headers["strangler-failed-error"]


def test_a_body_that_is_too_large_is_a_dead_letter_as_it_came(
    db, broker, victim, registry, consume
):
    subscribe("payment.*", name="fine")(lambda event: effect(db))
    consume(strangler={"MAX_PAYLOAD_BYTES": 1000})
    broker.publish(b"[" + b"1," * 1000 + b"1]", headers={"CC": [victim]})
    _, body = dead(broker)
    broker.publish()

    assert len(body) > 2000
    wait_for(lambda: effects(db) == 1)
    assert in_queue(broker, victim) == 0


def test_only_the_letters_that_were_listed_are_settled(
    db, broker, registry, consume, command
):
    """Junk under the id of a failed payment does not take that with it."""

    @subscribe("payment.*", name="broken")
    def broken(event: Event) -> None:
        raise ValueError("no")

    running = consume(retry_delays=())
    id = broker.publish({"amount": 100})
    broker.publish({"junk": 1}, id=id, type="payment.junk")
    wait_for(lambda: broker.depth(".dead") == 2)
    running.finish()

    said = command("discard", "--type", "payment.junk", "--no-input")

    assert "1 dead letter deleted" in said
    _, body = dead(broker)
    assert body == b'{"amount": 100}'


def test_nothing_that_a_terminal_acts_on_is_shown(
    db, broker, registry, consume, command
):
    hostile = "\x1b]0;owned\x07\r\nid:        forged\x9b2J"

    @subscribe("#", name="broken")
    def broken(event: Event) -> None:
        raise ValueError(hostile)

    consume("#", retry_delays=())
    broker.publish(hostile.encode(), id=hostile, type=f"a.{hostile}")
    broker.publish({"a": hostile}, headers={"x": hostile, "y": b"\x1b"})
    wait_for(lambda: broker.depth(".dead") == 2)

    for shown in (command(), command("show")):
        assert all(line.isprintable() for line in shown.split("\n"))
        assert not any(
            line.startswith("id:        forged") for line in shown.split("\n")
        )


def test_queues_of_an_earlier_release_are_taken_over_with_what_is_in_them(
    db, broker, registry, consume
):
    """Its retry queues hand back what is in them, and can then be deleted."""
    channel, name = broker.channel, broker.queue
    quorum = {"x-queue-type": "quorum"}

    def dead_lettered_to(queue: str) -> dict[str, Any]:
        return {
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": queue,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }

    channel.queue_declare(f"{name}.dead", durable=True, arguments=quorum)
    work = {**quorum, **dead_lettered_to(f"{name}.dead"), "x-delivery-limit": 20}
    channel.queue_declare(name, durable=True, arguments=work)
    old = {**quorum, **dead_lettered_to(name), "x-message-ttl": 500}
    channel.queue_declare(f"{name}.retry.1", durable=True, arguments=old)
    failed = {"strangler-failed-times": 1, "strangler-failed-reason": "failed"}
    waiting = broker.publish(headers=failed, exchange="", routing_key=f"{name}.retry.1")
    resting = broker.publish(headers=failed, exchange="", routing_key=f"{name}.dead")

    subscribe("payment.*", name="fine")(lambda event: effect(db))
    running = consume()
    fresh = broker.publish()
    wait_for(lambda: running.totals.handled == 2)

    assert entries(db) == {("fine", waiting), ("fine", fresh)}
    properties, _ = dead(broker)
    assert properties.message_id == resting
    broker.publish(b"{")
    assert dead(broker)[1] == b"{"
    assert broker.depth(".retry.1") == 0
    channel.queue_delete(f"{name}.retry.1")


def test_another_delay_is_another_queue_and_deletes_none(db, broker, registry, consume):
    subscribe("payment.*", name="broken")(lambda event: 1 / 0)
    first = consume(retry_delays=(600.0,))
    broker.publish()
    wait_for(lambda: broker.depth(".retry.600s") == 1)
    first.finish()
    consume(retry_delays=QUICK)
    broker.publish()
    dead(broker)

    assert broker.depth(".retry.600s") == 1
    assert declare.retry_name("q", 0.05) == "q.retry.50ms"
    assert declare.retry_name("q", 2592000.0) == "q.retry.2592000s"


def test_a_date_of_a_far_future_is_a_date(db, broker, registry, consume):
    """What pika can decode stays as it was."""
    seen: list[Event] = []
    subscribe("payment.*", name="fine")(seen.append)
    consume()
    broker.publish(headers={"x": datetime.datetime(2030, 1, 1), "tenant": "a"})
    wait_for(lambda: seen)

    assert seen[0].headers == {"tenant": "a"}


def test_what_ends_consumers_takes_no_neighbour_with_it(db, broker, registry, consume):
    """Each time it is handed over, the process dies, as far as RabbitMQ can tell."""
    deaths: list[int] = []

    @subscribe("payment.*", name="once")
    def once(event: Event) -> None:
        if event.payload.get("poison"):
            source = running.consumer.source
            connection = source._link.connection
            source._loop.call(lambda: drop(connection))
            wait_for(lambda: source._link.connection is not connection)
            deaths.append(1)
            raise ValueError("the process is gone")
        effect(db)

    consume().finish()
    for n in range(61):
        broker.publish({"poison": n == 10})
    running = consume(threads=4)
    running.consumer.source._link._pauses = Pauses(first=0.05, longest=0.05)
    wait_for(lambda: broker.depth(".dead") == 1, 120)
    wait_for(lambda: effects(db) == 60)

    properties, body = broker.get()
    assert body == b'{"poison": true}'
    assert properties.headers["x-death"][0]["reason"] == "delivery_limit"
    # It is said to be dead before the last handler is done with dying.
    wait_for(lambda: len(deaths) >= declare.DELIVERY_LIMIT)
    assert len(deaths) <= declare.DELIVERY_LIMIT + 1
    assert running.totals.dead == 0


def test_the_bytes_in_hand_are_bounded(db, broker, registry, consume):
    """However many deliveries may be taken ahead: here four of 16 MiB are 64."""
    go_on = threading.Event()
    subscribe("payment.*", name="slow")(lambda event: go_on.wait(60))
    consume(prefetch=50, strangler={"MAX_PAYLOAD_BYTES": 16 * 2**20}, threads=1)
    for _ in range(20):
        broker.publish()

    def in_hand() -> int:
        found = broker.server.ctl(
            *("list_queues", "--silent", "-p", broker.vhost),
            *("name", "messages_unacknowledged"),
        )
        counts = dict(line.split("\t") for line in found.splitlines())
        return int(counts[broker.queue])

    # And the first, which was taken alone.
    assert wait_for(lambda: (held := in_hand()) >= 5 and held) == 5
    assert broker.depth() == 15
    go_on.set()
