"""Delayed events, which stand outside the order; and the clocks they go by."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connections
from django.test import override_settings
from django.utils import timezone

from django_strangler.brokers import Kind, memory
from django_strangler.clock import DatabaseNow
from django_strangler.models import OutboxEvent
from django_strangler.outbox import settling
from tests.relay.factories import (
    events,
    make_relay,
    pending,
    publish,
    rows_sent,
)
from tests.waiting import wait_for


def test_a_delayed_event_waits_for_its_time_and_holds_nobody(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    (late,) = publish(sqlite_db, "a", delay=3600)
    (soon,) = publish(sqlite_db, "a", delay=1800)
    rows = publish(sqlite_db, "a", "a")

    make_relay(sqlite_db, far).drain()

    assert rows_sent(far) == rows
    # Its time has come.
    row = OutboxEvent.objects.using(sqlite_db).filter(pk=soon)
    row.update(available_at=DatabaseNow())
    make_relay(sqlite_db, far).drain()
    assert rows_sent(far) == [*rows, soon]
    assert events(sqlite_db)[late].state == "pending"


def test_a_delayed_event_goes_in_time_while_others_never_cease(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    now = [1000.0]
    relay = make_relay(sqlite_db, far, poll_interval=1.0, monotonic=lambda: now[0])
    relay.broker.open()
    relay.step()
    (delayed,) = publish(sqlite_db, "a", delay=3600)
    OutboxEvent.objects.using(sqlite_db).update(available_at=DatabaseNow())

    for _ in range(10):
        publish(sqlite_db, "b")
        now[0] += 0.3
        relay.step()

    assert delayed in rows_sent(far)


def not_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is tried again, is so after the test's end."""
    monkeypatch.setattr(settling, "backoff", lambda *_, **__: 600.0)


def test_a_delayed_event_is_tried_again_later(
    any_db: str, far: memory.MemoryExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    not_soon(monkeypatch)
    (row,) = publish(any_db, "a", delay=0.001)
    far.fail(Kind.REJECTED)
    wait_for(lambda: make_relay(any_db, far).drain().retried)
    event = events(any_db)[row]
    assert event.available_at is not None
    assert (event.attempts, event.state) == (1, "pending")
    assert make_relay(any_db, far).drain().confirmed == 0

    OutboxEvent.objects.using(any_db).update(available_at=event.published_at)
    make_relay(any_db, far).drain()

    assert rows_sent(far) == []  # retry_at is still ahead.
    OutboxEvent.objects.using(any_db).update(retry_at=None)
    make_relay(any_db, far).drain()
    assert rows_sent(far) == [row]


def test_more_delayed_events_than_a_batch_go_in_one_drain(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    publish(sqlite_db, *["a"] * 23, delay=0.001)
    wait_for(
        lambda: (
            make_relay(sqlite_db, far, batch_size=5).drain() and not pending(sqlite_db)
        )
    )

    assert len(far.sent) == 23


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_a_project_without_zones_is_served(
    zone: str, any_db: str, far: memory.MemoryExchange
) -> None:
    with override_settings(USE_TZ=False, TIME_ZONE=zone):
        for name in ("timezone", "timezone_name"):
            connections[any_db].__dict__.pop(name, None)
        (soon,) = publish(any_db, "a", delay=0.01)
        (late,) = publish(any_db, "a", delay=600)
        rows = publish(any_db, "a")

        wait_for(lambda: make_relay(any_db, far).drain() and len(far.sent) == 2)

        assert rows_sent(far) in ([*rows, soon], [soon, *rows])
        assert all(
            abs(event.published_at - timezone.now().astimezone()) < timedelta(minutes=1)
            for event in far.sent
        )
        assert events(any_db)[late].confirmed_at is None


def test_a_server_at_another_zone_neither_hurries_nor_waits(
    make_db, far: memory.MemoryExchange
) -> None:
    for alias in (
        make_db("mariadb", init_command="SET time_zone = '+07:00'"),
        make_db("postgresql", options="-c timezone=Asia/Jakarta"),
    ):
        before = len(far.sent)
        publish(alias, "a", delay=0.01)
        publish(alias, "a", delay=3600)
        wait_for(lambda alias=alias: make_relay(alias, far).drain().confirmed == 1)
        assert len(far.sent) == before + 1
        relay = make_relay(alias, far)
        relay.leases.keep()
        assert len(relay.leases.lanes) == 32
        relay.leases.leave()
