"""What is handed to the broker: whole, within the window, again when in doubt."""

from __future__ import annotations

from datetime import timedelta

from django.db import connections
from django.utils import timezone

from django_strangler.brokers import memory
from django_strangler.outbox.sending import SendingLimits
from tests.relay.factories import (
    events,
    make_relay,
    pending,
    publish,
    rows_sent,
)


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


def test_large_bodies_are_fetched_in_time_and_within_the_window(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    payload = {"text": "x" * 30_000}
    rows = publish(sqlite_db, *[f"k{n}" for n in range(7)], "k1", payload=payload)
    rows += publish(sqlite_db, "k1", "small")
    limits = SendingLimits(window=100_000, bodies=50_000)
    relay = make_relay(sqlite_db, far, limits=limits)
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
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    rows = publish(sqlite_db, "a", "a", "b")
    far.fail(None, times=1)  # Of the first event.

    limits = SendingLimits(outcome_timeout=0.2)
    make_relay(sqlite_db, far, limits=limits).drain()

    assert rows_sent(far) == [rows[2], *rows[:2]]
    assert pending(sqlite_db) == 0


def test_a_test_case_may_drive_a_relay(
    any_db_rolled_back: str, far: memory.MemoryExchange
) -> None:
    rows = publish(any_db_rolled_back, "a", "a", "b")

    totals = make_relay(any_db_rolled_back, far).drain()

    assert totals.confirmed == 3
    assert sorted(rows_sent(far)) == rows
    assert connections[any_db_rolled_back].in_atomic_block
