"""local://: subscribers that fail, and databases that do."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from django.db import connections, transaction
from django.test import override_settings
from django.utils import timezone

from django_strangler import subscribe
from django_strangler.brokers.base import RETRY_DELAYS
from django_strangler.events import Event
from django_strangler.inbox import local as local_module
from django_strangler.models import OutboxEvent
from tests.inbox.databases import effect, effects, end_connection, entries
from tests.inbox.factories import make_due, publish, relay


def test_a_subscriber_that_raises_leaves_neither_row_nor_effect(
    any_db, routed, registry
):
    routed(any_db)

    @subscribe("payment.*", name="broken")
    def broken(event: Event) -> None:
        effect(any_db)
        raise ValueError("no such account")

    publish(using=any_db)

    totals = relay(any_db).drain()

    row = OutboxEvent.objects.using(any_db).get()
    assert totals.retried == 1
    assert effects(any_db) == 0
    assert entries(any_db) == set()
    assert row.state == "pending"
    assert row.attempts == 1
    assert "broken: ValueError: no such account" in row.last_error


@pytest.mark.parametrize(
    ("log_errors", "is_kept"), [("text", True), ("type", False)], ids=["text", "type"]
)
def test_what_an_error_quotes_is_kept_where_that_is_allowed(
    sqlite_db, routed, registry, caplog, log_errors, is_kept
):
    routed(sqlite_db)

    @subscribe("payment.*", name="broken")
    def broken(event: Event) -> None:
        raise ValueError("no account DE02")

    publish(using=sqlite_db)

    with override_settings(STRANGLER={"LOG_ERRORS": log_errors}):
        relay(sqlite_db).drain()

    row = OutboxEvent.objects.using(sqlite_db).get()
    for text in row.last_error, caplog.text:
        assert "ValueError: " in text
        assert ("DE02" in text) is is_kept
        # Where it was raised is in the traceback, or said instead.
        assert is_kept or "in broken, " in text


def test_a_retry_calls_only_those_that_have_not_handled_it(any_db, routed, registry):
    routed(any_db)
    fails = [True]
    subscribe("payment.*", name="steady")(lambda event: effect(any_db, "steady"))

    @subscribe("payment.*", name="shaky")
    def shaky(event: Event) -> None:
        if fails:
            fails.clear()
            raise RuntimeError("once")
        effect(any_db, "shaky")

    publish(using=any_db)

    relay(any_db).drain()
    make_due(any_db)
    relay(any_db).drain()

    assert effects(any_db, "steady") == 1
    assert effects(any_db, "shaky") == 1
    assert OutboxEvent.objects.using(any_db).confirmed().count() == 1


def test_after_max_attempts_it_is_parked_naming_who_failed_and_why(
    any_db, routed, registry
):
    routed(any_db)
    subscribe("payment.*", name="fine")(lambda event: None)

    @subscribe("payment.*", name="broken")
    def broken(event: Event) -> None:
        raise ValueError("bad account")

    publish(using=any_db)

    with override_settings(STRANGLER={"MAX_ATTEMPTS": 2}):
        relay(any_db).drain()
        make_due(any_db)
        relay(any_db).drain()

    row = OutboxEvent.objects.using(any_db).get()
    assert row.state == "parked"
    assert row.parked_reason == "attempts"
    assert "broken: ValueError: bad account" in row.last_error
    assert "fine" not in row.last_error


def test_system_exit_in_a_subscriber_is_a_failure_and_no_exit(any_db, routed, registry):
    routed(any_db)
    seen: list[Event] = []

    @subscribe("payment.*", name="leaves")
    def leaves(event: Event) -> None:
        raise SystemExit(3)

    subscribe("payment.*", name="stays")(seen.append)
    publish(using=any_db)

    relay(any_db).drain()

    assert len(seen) == 1
    assert "leaves: SystemExit: 3" in OutboxEvent.objects.using(any_db).get().last_error


def test_a_swallowed_database_error_is_found_before_it_is_called_handled(
    any_db, routed, registry
):
    routed(any_db)

    @subscribe("payment.*", name="careless")
    def careless(event: Event) -> None:
        with suppress(Exception), transaction.atomic(using=any_db, savepoint=False):
            connections[any_db].cursor().execute("SELECT no_such_column")

    publish(using=any_db)

    relay(any_db).drain()

    assert entries(any_db) == set()
    assert (
        "after a database error" in OutboxEvent.objects.using(any_db).get().last_error
    )


def test_on_postgresql_an_aborted_transaction_is_found_too(
    postgresql_db, routed, registry
):
    routed(postgresql_db)

    @subscribe("payment.*", name="careless")
    def careless(event: Event) -> None:
        with suppress(Exception):
            connections[postgresql_db].connection.execute("SELECT no_such_column")

    publish(using=postgresql_db)

    relay(postgresql_db).drain()

    assert entries(postgresql_db) == set()
    row = OutboxEvent.objects.using(postgresql_db).get()
    assert "after a database error" in row.last_error


def test_a_subscriber_that_closes_its_connection_is_not_called_handled(
    any_db, routed, registry
):
    routed(any_db)

    @subscribe("payment.*", name="closes")
    def closes(event: Event) -> None:
        effect(any_db)
        connections[any_db].close()

    publish(using=any_db)

    relay(any_db).drain()

    assert entries(any_db) == set()
    assert effects(any_db) == 0
    row = OutboxEvent.objects.using(any_db).get()
    assert "closed its database connection" in row.last_error


def test_a_broken_module_keeps_events_while_the_others_get_theirs(
    sqlite_db, routed, registry
):
    routed(sqlite_db)
    seen: list[Event] = []
    subscribe("#", name="fine")(seen.append)
    registry.broken_modules["payments.subscribers"] = "ImportError: no module named x"
    publish(using=sqlite_db)

    relay(sqlite_db).drain()

    row = OutboxEvent.objects.using(sqlite_db).get()
    assert len(seen) == 1
    assert row.state == "pending"
    assert "payments.subscribers: ImportError" in row.last_error


def test_the_database_failing_is_not_the_events_fault(
    postgresql_db, routed, registry, monkeypatch
):
    routed(postgresql_db)
    cut = [True]

    @subscribe("#", name="cut")
    def cut_off(event: Event) -> None:
        if cut:
            cut.clear()
            with connections[postgresql_db].cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        effect(postgresql_db)

    publish(using=postgresql_db)

    totals = relay(postgresql_db).drain()

    row = OutboxEvent.objects.using(postgresql_db).get()
    assert totals.unknown == 1
    assert row.state == "confirmed"
    assert row.attempts == 0
    assert effects(postgresql_db) == 1


class Unspeakable(Exception):
    """An error that is broken itself."""

    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize("error", [Unspeakable(), asyncio.CancelledError()])
@pytest.mark.parametrize("vendor", ["sqlite", "postgresql"])
def test_whatever_a_subscriber_raises_is_a_failure(
    vendor, make_db, routed, registry, error
):
    db = routed(make_db(vendor))

    @subscribe("payment.failed", name="odd")
    def odd(event: Event) -> None:
        raise error

    subscribe("payment.completed", name="fine")(lambda event: effect(db))
    for _ in range(local_module.THREADS):
        publish("payment.failed", using=db)
    publish(using=db)

    totals = relay(db).drain()

    assert totals.retried == local_module.THREADS
    assert effects(db) == 1
    failed = OutboxEvent.objects.using(db).filter(type="payment.failed")
    assert all(type(error).__name__ in row.last_error for row in failed)


@pytest.mark.parametrize("vendor", ["sqlite", "postgresql"])
def test_a_row_that_somebody_has_broken_is_parked_and_the_others_go_on(
    vendor, make_db, routed, registry
):
    db = routed(make_db(vendor))
    subscribe("#", name="fine")(lambda event: effect(db))
    broken = publish(using=db)
    OutboxEvent.objects.using(db).filter(event_id=broken.id).update(body="{")
    publish(using=db)

    relay(db).drain()

    row = OutboxEvent.objects.using(db).get(event_id=broken.id)
    assert (row.state, row.parked_reason) == ("parked", "rejected")
    assert "it cannot be read" in row.last_error
    assert effects(db) == 1


def test_a_lost_connection_of_the_subscribers_own_is_not_kept(
    make_db, routed, registry, monkeypatch
):
    db, other = routed(make_db("postgresql")), make_db("postgresql")
    monkeypatch.setattr(local_module, "THREADS", 1)
    lose = [True]

    @subscribe("#", name="asks")
    def asks(event: Event) -> None:
        if lose:
            lose.clear()
            end_connection(other)
        with connections[other].cursor() as cursor:
            cursor.execute("SELECT 1")

    publish(using=db, key="a")
    publish(using=db, key="b")

    totals = relay(db).drain()

    assert (totals.retried, totals.confirmed) == (1, 1)


@pytest.mark.parametrize(
    ("own", "attempts", "seconds"),
    [
        (None, 0, RETRY_DELAYS[0]),
        (None, 3, RETRY_DELAYS[3]),
        (None, len(RETRY_DELAYS), 0),
        ([900.0], 0, 900.0),
        ([900.0], 1, 0),
    ],
    ids=["first", "fourth", "last", "first of its own", "last of its own"],
)
def test_it_is_called_again_after_the_delays_of_a_consumer(
    sqlite_db, routed, registry, own, attempts, seconds
):
    routed(sqlite_db)

    @subscribe("payment.*", name="broken", retry_delays=own)
    def broken(event: Event) -> None:
        raise ValueError("no")

    publish(using=sqlite_db)
    events = OutboxEvent.objects.using(sqlite_db)
    events.update(attempts=attempts)

    relay(sqlite_db).drain()

    row = events.get()
    assert row.state == ("pending" if seconds else "parked")
    if seconds:
        left = (row.retry_at - timezone.now()).total_seconds()
        assert seconds - 20 < left <= seconds
