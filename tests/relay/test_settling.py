"""What becomes of events: confirmed, ignored, retried, parked, held, deleted."""

from __future__ import annotations

from datetime import timedelta
from unittest import mock

import pytest
from django.core.management import call_command
from django.utils import timezone

from django_strangler import signals
from django_strangler.brokers import Kind, memory
from django_strangler.clock import DatabaseNow
from django_strangler.models import HeldType, OutboxEvent
from django_strangler.outbox import settling
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

    relay.backlog.has_forgotten = True
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


def test_a_queue_that_comes_within_the_grace_loses_nobodys_order(
    any_db: str, far: memory.MemoryExchange
) -> None:
    far.bind("others", "other.#")
    rows = publish(any_db, "a", "a", "b")
    others = publish(any_db, "c", type="other.happened")
    make_relay(any_db, far, unroutable_grace=30.0).drain()

    assert rows_sent(far) == others
    assert pending(any_db) == 3
    assert HeldType.objects.using(any_db).get().cause == "unroutable"

    far.bind("payments", "payment.#")
    HeldType.objects.using(any_db).update(probe_at=DatabaseNow())
    make_relay(any_db, far, unroutable_grace=30.0).drain()

    assert sorted(rows_sent(far)) == sorted([*rows, *others])
    assert [row for row in rows_sent(far) if row in rows[:2]] == rows[:2]
    assert not HeldType.objects.using(any_db).exists()


def test_the_end_of_the_grace_is_probed_when_it_comes(
    any_db: str, far: memory.MemoryExchange
) -> None:
    """And not with the probe after it, which may be as far away again."""
    far.bind("others", "other.#")
    publish(any_db, "a")

    make_relay(any_db, far, unroutable_grace=0.5).drain()

    held = HeldType.objects.using(any_db).get()
    assert held.probe_at - held.since <= timedelta(seconds=0.6)


def test_after_the_grace_events_are_parked(
    any_db: str, far: memory.MemoryExchange
) -> None:
    """By whichever relay: one that drains once knows of the one before."""
    far.bind("others", "other.#")
    publish(any_db, "a", "b", "")
    make_relay(any_db, far, unroutable_grace=30.0).drain()
    HeldType.objects.using(any_db).update(
        since=DatabaseNow(-31), probe_at=DatabaseNow()
    )

    make_relay(any_db, far, unroutable_grace=30.0).drain()

    assert {event.state for event in events(any_db).values()} == {"parked"}
    assert HeldType.objects.using(any_db).get().parks
