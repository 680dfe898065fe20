"""What fails is tried again, then becomes a dead letter; the consumer lives on."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest
from django.db import connections, transaction

from django_strangler import subscribe
from django_strangler.events import Event
from django_strangler.exceptions import ConsumerUnhealthy
from django_strangler.inbox import consumer as consumer_module
from tests.waiting import wait_for

from .conftest import effect, effects, entries


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short pauses in place."""
    monkeypatch.setattr(consumer_module, "TICK", 0.01)
    monkeypatch.setattr(consumer_module, "IN_PLACE", (0.01, 0.02))


def dead(broker) -> tuple[Any, bytes]:
    return wait_for(broker.get, 20, message="a dead letter")


def test_a_failure_that_passes_is_tried_again_in_place(db, broker, registry, consume):
    failures = [1, 2]

    @subscribe("payment.*", name="shaky")
    def shaky(event: Event) -> None:
        effect(db)
        if failures:
            failures.pop()
            raise ValueError("not yet")

    running = consume()
    broker.publish()
    wait_for(lambda: running.totals.handled == 1)

    assert effects(db) == 1
    assert running.totals.retried == 0


def test_while_it_is_tried_again_in_place_its_key_waits(db, broker, registry, consume):
    seen: list[int] = []
    failures = [1, 2]

    @subscribe("payment.*", name="shaky")
    def shaky(event: Event) -> None:
        if event.payload["n"] == 0 and failures:
            failures.pop()
            raise ValueError("not yet")
        seen.append(event.payload["n"])

    consume()
    for n in range(4):
        broker.publish({"n": n}, key="a")
    wait_for(lambda: len(seen) == 4)

    assert seen == [0, 1, 2, 3]


def test_what_goes_on_failing_comes_again_later_and_then_is_a_dead_letter(
    db, broker, registry, consume
):
    calls = []

    @subscribe("payment.*", name="broken")
    def broken(event: Event) -> None:
        calls.append(event.id)
        raise ValueError("no such account")

    subscribe("payment.*", name="fine")(lambda event: effect(db))
    running = consume()
    id = broker.publish(
        {"paymentId": 7}, key="k", headers={"flag-x": "on"}, app_id="monolith"
    )
    properties, body = dead(broker)

    assert (properties.message_id, body) == (id, b'{"paymentId": 7}')
    assert (properties.type, properties.app_id) == ("payment.completed", "monolith")
    headers = properties.headers
    assert headers["flag-x"] == "on"
    assert headers["strangler-key"] == "k"
    assert headers["strangler-failed-times"] == 3
    assert headers["strangler-failed-reason"] == "failed"
    assert headers["strangler-failed-error"] == "broken: ValueError: no such account"
    first = datetime.fromisoformat(headers["strangler-failed-first"])
    assert first < datetime.fromisoformat(headers["strangler-failed-last"])
    assert len(calls) == 3 * 3  # Delivered three times, tried three times each.
    assert effects(db) == 1
    assert entries(db) == {("fine", id)}
    assert (running.totals.retried, running.totals.dead) == (2, 1)


def test_what_fails_does_not_keep_its_key_waiting_for_its_next_delivery(
    db, broker, registry, consume
):
    seen: list[int] = []

    @subscribe("payment.*", name="shaky")
    def shaky(event: Event) -> None:
        if event.payload["n"] == 0:
            raise ValueError("never")
        seen.append(event.payload["n"])

    consume(retry_delays=(600.0,))
    for n in range(3):
        broker.publish({"n": n}, key="a")
    wait_for(lambda: len(seen) == 2)

    assert wait_for(lambda: broker.depth(".retry.1")) == 1


class Odd(BaseException):
    """Neither an Exception nor an exit."""


@pytest.mark.parametrize("error", [SystemExit(3), Odd(), RecursionError()])
def test_whatever_a_subscriber_raises_is_a_failure(
    db, broker, registry, consume, error
):
    @subscribe("payment.failed", name="odd")
    def odd(event: Event) -> None:
        raise error

    subscribe("payment.completed", name="fine")(lambda event: effect(db))
    consume(retry_delays=())
    broker.publish(type="payment.failed")
    properties, _ = dead(broker)
    broker.publish()

    assert type(error).__name__ in properties.headers["strangler-failed-error"]
    wait_for(lambda: effects(db) == 1)


def test_a_broken_transaction_is_a_failure(db, broker, registry, consume):
    @subscribe("payment.*", name="careless")
    def careless(event: Event) -> None:
        with suppress(Exception), transaction.atomic(using=db, savepoint=False):
            connections[db].cursor().execute("SELECT no_such_column")

    consume(retry_delays=())
    broker.publish()
    properties, _ = dead(broker)

    assert "after a database error" in properties.headers["strangler-failed-error"]
    assert entries(db) == set()


DEEP = b"[" * 100_000 + b"]" * 100_000
BAD = {
    "not JSON": ({"body": b"\xff{"}, "not JSON"),
    "NaN": ({"body": b'{"a": NaN}'}, "NaN is no number"),
    "too deep": ({"body": DEEP}, "deeply"),
    "a huge number": ({"body": b"9" * 5000}, "not JSON"),
    "no id": ({"id": None}, "no message id"),
    "an id that is none": ({"id": "payment-7"}, "is no UUID"),
    "a key of bytes": ({"headers": {"strangler-key": b"\xff"}}, "is of type bytes"),
    "a flag of bytes": ({"headers": {"flag-x": b"\xff"}}, "is of type bytes"),
    "a nested key": ({"headers": {"strangler-key": {"a": 1}}}, "is of type dict"),
    "10 MB": ({"body": b'"' + b"x" * 10_000_000 + b'"'}, "MAX_PAYLOAD_BYTES"),
    "unknown": ({"type": "payment.unknown"}, "nobody subscribes"),
}


@pytest.mark.parametrize(("given", "why"), BAD.values(), ids=BAD)
def test_bad_input_is_a_dead_letter_at_once_with_its_reason(
    db, broker, registry, consume, given, why
):
    subscribe("payment.completed", name="fine")(lambda event: effect(db))
    consume()
    broker.publish(**given)
    good = broker.publish()
    properties, body = dead(broker)

    assert why in properties.headers["strangler-failed-error"]
    assert properties.headers["strangler-failed-times"] == 1
    assert properties.message_id == given.get("id", properties.message_id)
    assert body == given.get("body", b"{}")
    wait_for(lambda: entries(db) == {("fine", good)})


ODD = {
    "bytes": {"traceparent": b"\xff\xfe", "x": b"\xff"},
    "nested": {"x": {"a": [1, {"b": None}]}, "traceparent": {"a": 1}},
    "forged": {"traceparent": "00-zz-zz-99", "tracestate": "=,=" * 50},
    "forged times": {
        "strangler-failed-times": -5,
        "strangler-failed-first": "yesterday",
        "strangler-published-at": "99999",
    },
    "very old": {"strangler-failed-first": "0001-01-01T00:00:00+00:00"},
    "numbers": {"traceparent": 5, "x": 2**62, "y": True},
}


@pytest.mark.parametrize("headers", ODD.values(), ids=ODD)
def test_odd_headers_of_others_are_left_out_and_the_event_is_handled(
    db, broker, registry, consume, headers
):
    seen: list[Event] = []
    subscribe("payment.*", name="fine")(seen.append)
    consume()
    broker.publish(headers=headers, timestamp=2**60)
    wait_for(lambda: seen)

    assert all(isinstance(v, (str, int, bool)) for v in seen[0].headers.values())


def test_a_copy_of_huge_headers_can_be_sent(db, broker, registry, consume):
    consume()
    broker.publish(b"?", headers={f"x{n}": "y" * 1000 for n in range(110)})

    properties, _ = dead(broker)

    assert "not JSON" in properties.headers["strangler-failed-error"]


def test_a_subscriber_that_never_returns_is_given_up_and_cannot_commit(
    any_db, routed, broker, registry, consume, caplog
):
    db = routed(any_db)
    go_on, late = threading.Event(), []

    @subscribe("payment.failed", name="stuck")
    def stuck(event: Event) -> None:
        effect(db)
        go_on.wait(60)
        late.append(event)

    seen: list[Event] = []
    subscribe("payment.completed", name="fine")(seen.append)
    running = consume(threads=2, retry_delays=(), strangler={"HANDLER_TIMEOUT": 0.3})
    broker.publish(type="payment.failed", key="a")
    broker.publish(key="a")
    with caplog.at_level(logging.ERROR):
        properties, _ = dead(broker)
        wait_for(lambda: len(seen) == 1)

    assert (
        "stuck: it took longer than 0.3 s"
        in (properties.headers["strangler-failed-error"])
    )
    assert "go_on.wait(60)" in caplog.text
    go_on.set()
    wait_for(lambda: late)
    running.finish()
    assert effects(db) == 0
    assert {name for name, _ in entries(db)} == {"fine"}


def test_a_statement_that_never_ends_is_ended_on_the_server(
    db, broker, registry, consume
):
    calls: list[int] = []

    @subscribe("payment.*", name="slow")
    def slow(event: Event) -> None:
        calls.append(1)
        if len(calls) == 1:
            connections[db].cursor().execute("SELECT pg_sleep(60)")
        effect(db)

    running = consume(strangler={"HANDLER_TIMEOUT": 0.5})
    broker.publish()
    # The second delivery is not kept waiting by the first one's inbox row.
    wait_for(lambda: running.totals.handled == 1)

    assert effects(db) == 1


def test_when_all_threads_hang_the_process_is_unhealthy(db, broker, registry, consume):
    go_on = threading.Event()

    @subscribe("payment.*", name="stuck")
    def stuck(event: Event) -> None:
        go_on.wait(60)

    running = consume(
        threads=2, retry_delays=(600.0,), strangler={"HANDLER_TIMEOUT": 0.2}
    )
    for _ in range(4):
        broker.publish()
    running.thread.join(20)
    go_on.set()

    (error,) = running.errors
    assert isinstance(error, ConsumerUnhealthy)
    assert "2 threads hang" in str(error)
    # Nothing is lost: what was not retried is still there.
    wait_for(lambda: broker.depth() + broker.depth(".retry.1") == 4)
