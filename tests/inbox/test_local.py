"""local://: this process's subscribers, through the outbox, without any server."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import date

import pytest
from django.db import connections, router, transaction
from django.test import override_settings
from reporting.models import Activity

from django_strangler import publish_event, subscribe
from django_strangler.events import Event
from django_strangler.inbox import local as local_module
from django_strangler.inbox.models import InboxEntry
from django_strangler.models import OutboxEvent
from django_strangler.outbox.relay import Relay
from django_strangler.testing import drain
from tests.waiting import wait_for


def publish(
    type: str = "payment.completed", using: str = "default", **options
) -> Event:
    with transaction.atomic(using=using):
        return publish_event(type, {"paymentId": 1}, using=using, **options)


def relay(alias: str) -> Relay:
    return Relay(alias, steady=False)


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch):
    """Send the inbox, and whatever the subscribers write, to this database."""

    def route(alias: str) -> str:
        monkeypatch.setattr(router, "db_for_write", lambda model, **hints: alias)
        return alias

    return route


def effect(alias: str, type: str = "done") -> None:
    """A row that a subscriber writes."""
    row, _ = Activity.objects.using(alias).get_or_create(
        day=date(2026, 1, 1), type=type
    )
    Activity.objects.using(alias).filter(pk=row.pk).update(count=row.count + 1)


def effects(alias: str, type: str = "done") -> int:
    row = Activity.objects.using(alias).filter(type=type).first()
    return row.count if row else 0


def entries(alias: str) -> set[tuple[str, object]]:
    return set(InboxEntry.objects.using(alias).values_list("subscriber", "event_id"))


def test_an_event_reaches_its_subscribers_and_is_confirmed(any_db, routed, registry):
    routed(any_db)
    seen: list[Event] = []
    subscribe("payment.*", name="first")(seen.append)
    subscribe("#", name="second")(lambda event: effect(any_db))
    published = publish(using=any_db, key="payment-1", correlation_id="c1")

    totals = relay(any_db).drain()

    assert totals.confirmed == 1
    assert [(e.id, e.type, e.payload, e.key, e.correlation_id) for e in seen] == [
        (published.id, "payment.completed", {"paymentId": 1}, "payment-1", "c1")
    ]
    assert seen[0].published_at is not None
    assert seen[0].published_at.tzinfo is not None
    assert effects(any_db) == 1
    assert entries(any_db) == {("first", published.id), ("second", published.id)}
    assert OutboxEvent.objects.using(any_db).confirmed().count() == 1


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


def make_due(alias: str) -> None:
    OutboxEvent.objects.using(alias).update(retry_at=None)


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


def test_an_event_that_nobody_subscribes_to_is_unroutable(any_db, routed, registry):
    routed(any_db)
    publish("user.signup", using=any_db)

    relay(any_db).drain()

    row = OutboxEvent.objects.using(any_db).get()
    assert (row.state, row.parked_reason) == ("parked", "unroutable")


def test_an_event_decided_off_is_routed_but_not_for_the_flagged_subscriber(
    any_db, routed, registry
):
    routed(any_db)
    seen: list[Event] = []
    subscribe("payment.*", name="modern", flag="notifications-v2")(seen.append)

    class Decision:
        name = "notifications-v2"

        def __init__(self, on: bool) -> None:
            self.on = on

        def __bool__(self) -> bool:
            return self.on

    publish(using=any_db, flags=[Decision(False)])
    moved = publish(using=any_db, flags=[Decision(True)])
    publish(using=any_db)

    totals = relay(any_db).drain()

    assert totals.confirmed == 3
    assert [event.id for event in seen] == [moved.id]


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


def test_events_that_a_subscriber_publishes_go_out_as_well(any_db, routed, registry):
    routed(any_db)
    seen: list[str] = []

    @subscribe("payment.completed", name="chain")
    def chain(event: Event) -> None:
        publish_event("receipt.sent", {}, key=event.key, using=any_db)

    subscribe("receipt.*", name="end")(lambda event: seen.append(event.key))
    publish(using=any_db, key="payment-7")

    relay(any_db).drain()

    assert seen == ["payment-7"]


def test_a_rolled_back_subscribers_events_never_go_out(any_db, routed, registry):
    routed(any_db)

    @subscribe("payment.completed", name="chain")
    def chain(event: Event) -> None:
        publish_event("receipt.sent", {}, using=any_db)
        raise RuntimeError

    publish(using=any_db)

    relay(any_db).drain()

    assert not OutboxEvent.objects.using(any_db).filter(type="receipt.sent").exists()


def test_the_same_event_twice_has_one_effect(any_db, routed, registry):
    routed(any_db)
    subscribe("payment.*", name="once")(lambda event: effect(any_db))
    publish(using=any_db)
    relay(any_db).drain()
    OutboxEvent.objects.using(any_db).update(confirmed_at=None)

    relay(any_db).drain()

    assert effects(any_db) == 1
    assert OutboxEvent.objects.using(any_db).confirmed().count() == 1


def test_two_deliveries_at_once_have_one_effect(postgresql_db, routed, registry):
    from django_strangler.inbox.handling import handle

    alias = routed(postgresql_db)
    entered, go_on = threading.Event(), threading.Event()

    @subscribe("payment.*", name="once")
    def once(event: Event) -> None:
        entered.set()
        assert go_on.wait(10)
        effect(alias)

    (subscriber,) = registry.all()
    event = Event(type="payment.completed", payload={})
    called: list[bool] = []

    def deliver() -> None:
        try:
            called.append(handle(subscriber, event))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=deliver) for _ in range(2)]
    threads[0].start()
    assert entered.wait(10)
    threads[1].start()
    wait_for(lambda: _is_waiting_for_a_lock(alias))
    go_on.set()
    for thread in threads:
        thread.join()

    assert sorted(called) == [False, True]
    assert effects(alias) == 1


def _is_waiting_for_a_lock(alias: str) -> bool:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
        return cursor.fetchone() is not None


def test_a_slow_subscriber_holds_up_its_key_and_not_the_others(
    postgresql_db, routed, registry
):
    routed(postgresql_db)
    go_on = threading.Event()
    seen: list[tuple[str, str]] = []

    @subscribe("#", name="slow")
    def slow(event: Event) -> None:
        if event.type == "payment.slow":
            assert go_on.wait(20)
        seen.append((event.key, event.type))

    publish("payment.slow", using=postgresql_db, key="a")
    publish("payment.quick", using=postgresql_db, key="a")
    for number in range(20):
        publish("payment.quick", using=postgresql_db, key=f"b{number}")
    stop = threading.Event()
    thread = threading.Thread(target=_run_and_close, args=[postgresql_db, stop])
    thread.start()

    wait_for(lambda: len(seen) == 20)
    assert all(key.startswith("b") for key, _ in seen)
    go_on.set()
    wait_for(lambda: len(seen) == 22)
    stop.set()
    thread.join()

    assert seen[20:] == [("a", "payment.slow"), ("a", "payment.quick")]


def _run_and_close(alias: str, stop: threading.Event) -> None:
    try:
        Relay(alias, stop=stop).run()
    finally:
        connections.close_all()


def test_on_sqlite_there_are_no_threads(sqlite_db, routed, registry):
    routed(sqlite_db)
    names: list[str] = []
    subscribe("#", name="names")(
        lambda event: names.append(threading.current_thread().name)
    )
    publish(using=sqlite_db)

    relay(sqlite_db).drain()

    assert names == [threading.current_thread().name]


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


@pytest.mark.django_db
def test_drain_delivers_inside_a_test(registry):
    seen: list[Event] = []
    subscribe("payment.*", name="seen")(seen.append)
    published = publish()

    totals = drain()

    assert totals.confirmed == 1
    assert [event.id for event in seen] == [published.id]


@pytest.mark.django_db
def test_drain_raises_what_a_subscriber_raised(registry):
    @subscribe("payment.*", name="broken")
    def broken(event: Event) -> None:
        raise ZeroDivisionError

    publish()

    with pytest.raises(ZeroDivisionError):
        drain()


@pytest.mark.django_db
def test_drain_leaves_errors_to_the_outbox_on_request(registry):
    @subscribe("payment.*", name="broken")
    def broken(event: Event) -> None:
        raise ZeroDivisionError

    publish()

    totals = drain(raise_errors=False)

    assert totals.retried == 1


def test_the_trace_goes_on_in_the_subscriber(sqlite_db, routed, registry, monkeypatch):
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import (
        InMemorySpanExporter,
    )

    routed(sqlite_db)
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    inside: list[int] = []
    subscribe("#", name="traced")(
        lambda event: inside.append(trace.get_current_span().get_span_context().span_id)
    )
    with provider.get_tracer("view").start_as_current_span("POST /payments") as view:
        publish(using=sqlite_db)

    relay(sqlite_db).drain()

    process = next(
        s for s in exporter.get_finished_spans() if s.name.startswith("proc")
    )
    assert process.name == "process traced"
    assert process.context.trace_id == view.get_span_context().trace_id
    assert process.parent.span_id == view.get_span_context().span_id
    assert inside == [process.context.span_id]


def test_threads_are_bounded(postgresql_db, routed, registry):
    routed(postgresql_db)
    running, most, lock = [0], [0], threading.Lock()

    @subscribe("#", name="count")
    def count(event: Event) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        with lock:
            running[0] -= 1

    for number in range(100):
        publish(using=postgresql_db, key=str(number))

    relay(postgresql_db).drain()

    assert 1 <= most[0] <= local_module.THREADS
    assert InboxEntry.objects.using(postgresql_db).count() == 100
