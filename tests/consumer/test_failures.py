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
from django_strangler.databases import cutting
from django_strangler.events import Event
from django_strangler.exceptions import ConsumerUnhealthy
from tests.waiting import wait_for

from .conftest import effect, effects, entries


def dead(broker) -> tuple[Any, bytes]:
    return wait_for(broker.get, message="a dead letter")


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


@pytest.mark.parametrize(
    ("log_errors", "is_kept"), [("text", True), ("type", False)], ids=["text", "type"]
)
def test_what_an_error_quotes_is_kept_where_that_is_allowed(
    db, broker, registry, consume, caplog, settings, log_errors, is_kept
):
    settings.STRANGLER = {"LOG_ERRORS": log_errors}

    @subscribe("payment.*", name="broken")
    def broken(event: Event) -> None:
        raise ValueError("no account DE02")

    consume(retry_delays=())
    with caplog.at_level(logging.INFO):
        broker.publish()
        properties, _ = dead(broker)

    for text in properties.headers["strangler-failed-error"], caplog.text:
        assert "ValueError: " in text
        assert ("DE02" in text) is is_kept
        assert is_kept or "in broken, " in text


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

    assert wait_for(lambda: broker.depth(".retry.600s")) == 1


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
    running = consume(threads=2, retry_delays=(), strangler={"HANDLER_TIMEOUT": 2.0})
    broker.publish(type="payment.failed", key="a")
    broker.publish(key="a")
    with caplog.at_level(logging.ERROR):
        properties, _ = dead(broker)
        wait_for(lambda: len(seen) == 1)

    assert (
        "stuck: TimeoutError: it took longer than 2 s"
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

    running = consume(strangler={"HANDLER_TIMEOUT": 1.5})
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
    running.thread.join(60)
    go_on.set()

    (error,) = running.errors
    assert isinstance(error, ConsumerUnhealthy)
    assert "2 threads are hanging" in str(error)
    # Nothing is lost: what was not retried is still there.
    wait_for(lambda: broker.depth() + broker.depth(".retry.600s") == 4)


@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
def test_a_database_that_never_answers_ends_the_process_and_loses_nothing(
    server, request, make_db, make_proxy, routed, broker, registry, consume, monkeypatch
):
    monkeypatch.setattr(cutting, "PATIENCE", 0.2)
    proxy = make_proxy(request.getfixturevalue(server))
    db = routed(make_db(server, port=proxy.port))
    subscribe("payment.*", name="once")(lambda event: effect(db))
    options = {"threads": 2, "strangler": {"HANDLER_TIMEOUT": 2.0}}
    running = consume(**options)
    broker.publish()
    wait_for(lambda: effects(db) == 1)

    proxy.black_hole()
    for _ in range(5):
        broker.publish()
    running.thread.join(60)
    (error,) = running.errors
    assert isinstance(error, ConsumerUnhealthy)

    proxy.heal()
    consume(**options)
    wait_for(lambda: effects(db) == 6)
    assert len(entries(db)) == 6
