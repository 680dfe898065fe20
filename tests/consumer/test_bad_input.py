"""Messages that are no events: dead letters, or handled; nobody is kept waiting."""

from __future__ import annotations

import pytest

from django_strangler import subscribe
from django_strangler.events import Event
from tests.waiting import wait_for

from .conftest import effect, entries


@pytest.fixture
def db(sqlite_db, routed):
    """What is tested here is no database's business, and this one is made at once."""
    return routed(sqlite_db)


def dead(broker):
    return wait_for(broker.get, message="a dead letter")


DEEP = b"[" * 100_000 + b"]" * 100_000
BAD = {
    "not JSON": ({"body": b"\xff{"}, "not JSON"),
    "NaN": ({"body": b'{"a": NaN}'}, "NaN is not a number"),
    "too deep": ({"body": DEEP}, "deeply"),
    "a huge number": ({"body": b"9" * 5000}, "not JSON"),
    "no id": ({"id": None}, "no message id"),
    "an id that is none": ({"id": "payment-7"}, "is not a UUID"),
    "a key of bytes": ({"headers": {"strangler-key": b"\xff"}}, "is of type bytes"),
    "a flag of bytes": ({"headers": {"flag-x": b"\xff"}}, "is of type bytes"),
    "a nested key": ({"headers": {"strangler-key": {"a": 1}}}, "is of type dict"),
    "infinite": ({"body": b"[1e999]"}, "larger than any number"),
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


def test_what_is_too_large_to_be_copied_is_made_a_dead_letter_by_rabbitmq(
    db, broker, registry, consume, caplog
):
    subscribe("payment.completed", name="fine")(lambda event: effect(db))
    consume()
    broker.publish(body=b'"' + b"x" * 10_000_000 + b'"')
    good = broker.publish()

    properties, body = dead(broker)

    assert properties.headers["x-first-death-reason"] == "rejected"
    assert len(body) == 10_000_002
    assert "more than MAX_PAYLOAD_BYTES" in caplog.text
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


def test_a_type_that_is_unknown_waits_for_the_version_that_knows_it(
    db, broker, registry, consume
):
    subscribe("payment.completed", name="fine")(lambda event: effect(db))
    running = consume("payment.*")
    broker.publish(type="payment.unknown")
    properties, _ = dead(broker)

    assert "nobody subscribes" in properties.headers["strangler-failed-error"]
    assert properties.headers["strangler-failed-reason"] == "no subscriber"
    assert properties.headers["strangler-failed-times"] == 3
    assert (running.totals.retried, running.totals.dead) == (2, 1)


def test_a_copy_of_huge_headers_can_be_sent(db, broker, registry, consume):
    subscribe("payment.completed", name="fine")(lambda event: effect(db))
    consume()
    broker.publish(b"?", headers={f"x{n}": "y" * 1000 for n in range(110)})

    properties, _ = dead(broker)

    assert "not JSON" in properties.headers["strangler-failed-error"]
