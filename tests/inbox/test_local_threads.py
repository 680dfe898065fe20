"""local://: in which threads subscribers are called, and who waits for whom."""

from __future__ import annotations

import threading

import pytest
from django.db import connections
from django.test import override_settings

from django_strangler import subscribe
from django_strangler.events import Event
from django_strangler.exceptions import ConsumerUnhealthy
from django_strangler.inbox import local as local_module
from django_strangler.inbox.models import InboxEntry
from django_strangler.models import OutboxEvent
from django_strangler.outbox.relay import Relay
from tests.inbox.databases import effect, effects
from tests.inbox.factories import publish, relay
from tests.waiting import wait_for


def test_two_deliveries_at_once_have_one_effect(postgresql_db, routed, registry):
    from django_strangler.inbox.handling import handle

    alias = routed(postgresql_db)
    entered, go_on = threading.Event(), threading.Event()

    @subscribe("payment.*", name="once")
    def once(event: Event) -> None:
        entered.set()
        assert go_on.wait(60)
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
    assert entered.wait(60)
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
            assert go_on.wait(55)
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


def none_is_left() -> bool:
    return not any(it.name == "strangler-local" for it in threading.enumerate())


def test_a_subscriber_that_never_returns_is_given_up_and_cannot_commit(
    postgresql_db, routed, registry
):
    db, go_on, late = routed(postgresql_db), threading.Event(), []

    @subscribe("payment.failed", name="stuck")
    def stuck(event: Event) -> None:
        effect(db, "late")
        go_on.wait(60)
        late.append(event)

    subscribe("payment.completed", name="fine")(lambda event: effect(db))
    publish("payment.failed", using=db, key="a")
    publish(using=db, key="b")

    with override_settings(STRANGLER={"HANDLER_TIMEOUT": 2.0}):
        totals = relay(db).drain()
    go_on.set()
    wait_for(lambda: late and none_is_left())

    row = OutboxEvent.objects.using(db).get(type="payment.failed")
    assert (totals.retried, totals.confirmed) == (1, 1)
    assert (row.state, row.attempts) == ("pending", 1)
    assert "stuck: TimeoutError: it took longer than 2 s" in row.last_error
    assert (effects(db, "late"), effects(db)) == (0, 1)


def test_when_all_threads_hang_the_relay_ends(
    postgresql_db, routed, registry, monkeypatch
):
    db, go_on = routed(postgresql_db), threading.Event()
    monkeypatch.setattr(local_module, "THREADS", 2)
    subscribe("#", name="stuck")(lambda event: go_on.wait(60))
    for key in "abc":
        publish(using=db, key=key)

    with (
        override_settings(STRANGLER={"HANDLER_TIMEOUT": 0.3}),
        pytest.raises(ConsumerUnhealthy, match="2 threads are hanging"),
    ):
        relay(db).drain()
    go_on.set()
    wait_for(none_is_left)

    assert OutboxEvent.objects.using(db).pending().count() == 3
