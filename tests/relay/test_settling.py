"""What becomes of events: confirmed, ignored, retried, parked, held, deleted."""

from __future__ import annotations

from datetime import timedelta
from unittest import mock

import pytest
from django.core.management import call_command
from django.db import connections
from django.test import override_settings
from django.utils import timezone

from django_strangler import signals
from django_strangler.brokers import Kind, memory
from django_strangler.models import OutboxEvent
from django_strangler.outbox import sending, settling
from tests.relay.factories import (
    events,
    make_relay,
    pending,
    publish,
    rows_sent,
)
from tests.waiting import wait_for

WAITS_LONG = timezone.now() + timedelta(days=1)


def not_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is tried again, is so after the test's end."""
    monkeypatch.setattr(settling, "backoff", lambda *_, **__: 600.0)


def test_all_columns_arrive_as_they_were_published(
    any_db: str, far: memory.MemoryExchange
) -> None:
    (row,) = publish(any_db, "péage-1 ", payload={"amount": "12.50", "n": [1, None]})
    stored = events(any_db)[row]

    make_relay(any_db, far).drain()

    (event,) = far.sent
    assert event.id == str(stored.event_id)
    assert event.body == '{"amount":"12.50","n":[1,null]}'
    assert (event.type, event.key) == ("payment.completed", "péage-1 ")
    assert event.published_at == stored.as_event().published_at
    assert abs(event.published_at - timezone.now()) < timedelta(minutes=1)


def test_an_unroutable_event_is_parked_and_others_go_on(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    far.bind("mail", "payment.*")
    lost = publish(sqlite_db, "a", type="user.created")
    rows = publish(sqlite_db, "a", "b")

    totals = make_relay(sqlite_db, far).drain()

    assert sorted(rows_sent(far)) == rows
    event = events(sqlite_db)[lost[0]]
    assert (event.state, event.parked_reason) == ("parked", "unroutable")
    assert "replay_events --unroutable" in event.last_error
    assert (totals.confirmed, totals.parked) == (2, 1)


def test_replayed_unroutable_events_are_sent_in_order(
    any_db: str, far: memory.MemoryExchange
) -> None:
    far.bind("mail", "payment.*")
    lost = publish(any_db, *["a"] * 20, "b", type="user.created")
    make_relay(any_db, far).drain()
    far.bind("users", "user.*")

    call_command("replay_events", "--unroutable", "--no-input", database=any_db)
    make_relay(any_db, far).drain()

    sent = rows_sent(far)
    assert sorted(sent) == lost
    assert [row for row in sent if row != lost[-1]] == lost[:-1]
    assert not pending(any_db)


def test_unroutable_types_may_be_ignored_by_pattern(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    far.bind("mail", "payment.*")
    audits = publish(sqlite_db, "a", type="audit.login.failed")
    users = publish(sqlite_db, "a", type="user.created")
    rules = {"audit.#": "ignore", "#": "park"}

    make_relay(sqlite_db, far, unroutable=rules).drain()

    found = events(sqlite_db)
    assert found[audits[0]].state == "confirmed"
    assert found[users[0]].state == "parked"


def test_after_max_attempts_an_event_is_parked_and_its_key_goes_on(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    bad = publish(sqlite_db, "a", type="payment.refused")
    after = publish(sqlite_db, "a")
    far.fail(
        Kind.REJECTED, "too heavy\x00\ud800", pattern="payment.refused", times=None
    )

    def drained() -> bool:
        make_relay(sqlite_db, far, max_attempts=3, max_backoff=0.01).drain()
        return not pending(sqlite_db)

    wait_for(drained)

    event = events(sqlite_db)[bad[0]]
    assert (event.state, event.parked_reason, event.attempts) == (
        "parked",
        "attempts",
        3,
    )
    assert event.last_error == "too heavy\\0\\ud800"
    assert rows_sent(far) == after


def test_a_final_refusal_is_parked_at_once(
    any_db: str, far: memory.MemoryExchange
) -> None:
    (row,) = publish(any_db, "a")
    far.fail(Kind.REJECTED, "406 too large\x00", final=True)

    make_relay(any_db, far).drain()

    event = events(any_db)[row]
    assert (event.parked_reason, event.last_error) == ("rejected", "406 too large\\0")


def test_a_parked_event_holds_its_key_if_so_set(
    any_db: str, far: memory.MemoryExchange
) -> None:
    far.bind("mail", "payment.*")
    publish(any_db, "a", type="user.created")
    behind = publish(any_db, "a", "a")
    # In some collations these are the same.
    others = publish(any_db, "A", "a ", "á", "")
    relay = make_relay(any_db, far, parked_holds_key=True)

    relay.drain()

    assert sorted(rows_sent(far)) == others
    far.bind("users", "user.*")
    OutboxEvent.objects.using(any_db).parked().update(parked_at=None)
    make_relay(any_db, far, parked_holds_key=True).drain()
    assert rows_sent(far)[-2:] == behind


def test_look_alikes_of_a_held_key_go_on(
    any_db: str, far: memory.MemoryExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    not_soon(monkeypatch)
    publish(any_db, "order-ab1", type="payment.refused")
    behind = publish(any_db, "order-ab1")
    far.fail(Kind.REJECTED, pattern="payment.refused")
    relay = make_relay(any_db, far)
    relay.drain()
    alike = publish(any_db, "order-Ab1", "order-aB1", "order-ab1 ", "órder-ab1")

    relay.backlog.has_more = True
    relay.drain()

    assert sorted(rows_sent(far)) == alike
    assert behind[0] not in rows_sent(far)


def test_with_no_retention_confirmed_rows_are_deleted(
    any_db: str, far: memory.MemoryExchange
) -> None:
    far.bind("mail", "payment.*")
    parked = publish(any_db, "a", type="user.created")
    rows = publish(any_db, *["a", "b", "", "a"] * 20)

    make_relay(any_db, far, retention=0.0).drain()

    assert sorted(rows_sent(far)) == rows
    assert list(events(any_db)) == parked


def test_a_delayed_event_waits_for_its_time_and_holds_nobody(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    (late,) = publish(sqlite_db, "a", delay=3600)
    (soon,) = publish(sqlite_db, "a", delay=0.3)
    rows = publish(sqlite_db, "a", "a")

    make_relay(sqlite_db, far).drain()

    assert rows_sent(far) == rows
    wait_for(lambda: make_relay(sqlite_db, far).drain() and rows_sent(far)[-1] == soon)
    assert events(sqlite_db)[late].state == "pending"


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


def test_large_bodies_are_fetched_in_time_and_within_the_window(
    sqlite_db: str, far: memory.MemoryExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "WINDOW_BYTES", 100_000)
    monkeypatch.setattr(sending, "BODIES_AT_ONCE", 50_000)
    payload = {"text": "x" * 30_000}
    rows = publish(sqlite_db, *[f"k{n}" for n in range(7)], "k1", payload=payload)
    rows += publish(sqlite_db, "k1", "small")
    relay = make_relay(sqlite_db, far)
    far.hold_outcomes()
    relay.broker.open()

    for _ in range(5):
        relay.step()

    assert 0 < relay.backlog.sent_bytes <= 100_000
    far.release_outcomes(list)
    relay.drain()
    assert sorted(rows_sent(far)) == rows
    assert all(event.body and len(event.body) == event.size for event in far.sent)


def test_bodies_that_cannot_be_fetched_leave_nothing_in_limbo(
    postgresql_db: str, far: memory.MemoryExchange
) -> None:
    rows = publish(postgresql_db, "a", "b", payload={"text": "x" * 30_000})
    relay = make_relay(postgresql_db, far)
    cut = connections[postgresql_db].Database.OperationalError("cut")
    original = relay.store.bodies

    def fail_once(wanted):
        relay.store.bodies = original
        with relay.connection.wrap_database_errors:
            raise cut

    relay.store.bodies = fail_once

    relay.drain()

    assert sorted(rows_sent(far)) == rows
    assert pending(postgresql_db) == 0


def test_a_lost_connection_repeats_the_window_in_order(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    rows = publish(sqlite_db, *["a", "b", "c", "d"] * 5)
    far.hold_outcomes()
    relay = make_relay(sqlite_db, far)
    relay.broker.open()
    relay.step()
    assert rows_sent(far) == rows[:4]

    far.holding = False
    far.lose_connections()
    relay.drain()

    assert sorted(rows_sent(far)) == sorted([*rows, *rows[:4]])
    for key in "abcd":
        of_key = [event.row for event in far.sent if event.key == key]
        assert list(dict.fromkeys(of_key)) == sorted(set(of_key))
    assert pending(sqlite_db) == 0
    assert all(event.attempts == 0 for event in events(sqlite_db).values())


def test_an_outcome_that_never_comes_is_given_up(
    sqlite_db: str, far: memory.MemoryExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "OUTCOME_TIMEOUT", 0.2)
    rows = publish(sqlite_db, "a", "a", "b")
    far.fail(None, times=1)  # Of the first event.

    make_relay(sqlite_db, far).drain()

    assert rows_sent(far) == [rows[2], *rows[:2]]
    assert pending(sqlite_db) == 0


def test_signals_come_one_per_batch_and_a_bad_receiver_does_no_harm(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    far.bind("mail", "payment.*")
    publish(sqlite_db, "a", "b", "c")
    publish(sqlite_db, "a", type="user.created")
    confirmed = mock.Mock(side_effect=RuntimeError, __qualname__="bad")
    parked = mock.Mock(side_effect=RuntimeError, __qualname__="bad")
    signals.events_confirmed.connect(confirmed)
    signals.events_parked.connect(parked)
    try:
        make_relay(sqlite_db, far).drain()
    finally:
        signals.events_confirmed.disconnect(confirmed)
        signals.events_parked.disconnect(parked)

    assert sum(len(call.kwargs["events"]) for call in confirmed.mock_calls) == 3
    (call,) = parked.mock_calls
    assert call.kwargs["reason"] == "unroutable"
    assert [event.type for event in call.kwargs["events"]] == ["user.created"]


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


def test_a_test_case_may_drive_a_relay(
    any_db_rolled_back: str, far: memory.MemoryExchange
) -> None:
    rows = publish(any_db_rolled_back, "a", "a", "b")

    totals = make_relay(any_db_rolled_back, far).drain()

    assert totals.confirmed == 3
    assert sorted(rows_sent(far)) == rows
    assert connections[any_db_rolled_back].in_atomic_block
