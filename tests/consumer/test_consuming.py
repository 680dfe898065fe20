"""Deliveries reach subscribers, and are acknowledged once that is committed."""

from __future__ import annotations

import threading

from django_strangler import subscribe
from django_strangler.events import Event
from tests.waiting import wait_for

from .conftest import effect, effects, entries


def test_an_event_reaches_its_subscribers_as_it_was_published(
    db, broker, registry, consume
):
    seen: list[Event] = []
    subscribe("payment.*", name="first")(seen.append)
    subscribe("payment.completed", name="second")(lambda event: effect(db))
    running = consume()

    id = broker.publish(
        {"paymentId": 1},
        key="payment-1",
        headers={"flag-x": "on", "tries": 3},
        correlation_id="c1",
    )
    wait_for(lambda: running.totals.handled == 1)
    running.finish()

    (event,) = seen
    assert (str(event.id), event.type, event.payload) == (
        id,
        "payment.completed",
        {"paymentId": 1},
    )
    assert (event.key, event.correlation_id) == ("payment-1", "c1")
    assert event.headers == {"flag-x": "on", "tries": 3}
    assert entries(db) == {("first", id), ("second", id)}
    assert effects(db) == 1
    assert broker.depth() == 0


def test_the_same_event_again_has_no_second_effect(db, broker, registry, consume):
    subscribe("payment.*", name="once")(lambda event: effect(db))
    running = consume()

    id = broker.publish()
    for _ in range(4):
        broker.publish(id=id)
    wait_for(lambda: running.totals.handled == 5)

    assert effects(db) == 1


def test_events_of_a_key_keep_their_order_and_others_overtake_them(
    db, broker, registry, consume
):
    seen: list[tuple[str, int]] = []
    go_on = threading.Event()

    @subscribe("payment.*", name="slow")
    def slow(event: Event) -> None:
        if event.payload["n"] == 0 and event.key == "a":
            assert go_on.wait(55)
        seen.append((event.key, event.payload["n"]))

    consume()
    for n in range(5):
        broker.publish({"n": n}, key="a")
        broker.publish({"n": n}, key="b")

    wait_for(lambda: len(seen) == 5)
    assert seen == [("b", n) for n in range(5)]
    go_on.set()
    wait_for(lambda: len(seen) == 10)
    assert seen[5:] == [("a", n) for n in range(5)]
