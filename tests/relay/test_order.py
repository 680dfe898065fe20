"""The rules of reading and of marks, on real databases."""

from __future__ import annotations

import threading

import pytest
from django.db import connections, transaction

from django_strangler.brokers import Cause, Kind, memory
from django_strangler.clock import DatabaseNow
from django_strangler.events import Event
from django_strangler.models import HeldType, Lane, OutboxEvent, RelayProcess
from django_strangler.outbox import settling
from django_strangler.outbox.lanes import LANES
from django_strangler.outbox.publishing import publish_events
from django_strangler.outbox.rows import Reach
from tests.relay.factories import (
    events,
    first_copies,
    make_relay,
    pending,
    publish,
    rows_sent,
)
from tests.services.fixtures import MakeDb
from tests.waiting import wait_for


@pytest.mark.parametrize("vendor", ["postgresql", "mariadb"])
def test_what_commits_late_is_read_before_its_successor(
    vendor: str, make_db: MakeDb, far: memory.MemoryExchange
) -> None:
    """T1 publishes low ids of a key, others are read meanwhile; then T1 commits."""
    alias = make_db(vendor)
    written, may_commit = threading.Event(), threading.Event()

    def publish_late() -> None:
        try:
            with transaction.atomic(using=alias):
                late = [Event(type="payment.authorised", payload={}, key="late")] * 1
                publish_events(late, using=alias)
                written.set()
                assert may_commit.wait(60)
        finally:
            connections[alias].close()

    thread = threading.Thread(target=publish_late)
    thread.start()
    assert written.wait(60)
    others = publish(alias, *[f"other-{n}" for n in range(30)])
    relay = make_relay(alias, far, batch_size=2, window=2)
    far.hold_outcomes()
    relay.broker.open()
    relay.step()  # Reads others beyond the id that has not committed yet.
    assert rows_sent(far) == others[:2]
    may_commit.set()
    thread.join()
    successors = publish(alias, "late", "late")

    far.release_outcomes(list)
    relay.drain()

    of_late = [event.row for event in far.sent if event.key == "late"]
    assert of_late == [others[0] - 1, *successors]
    assert pending(alias) == 0


def test_a_key_has_one_event_under_way(any_db: str, far: memory.MemoryExchange) -> None:
    rows = publish(any_db, "a", "a", "b", "", "a", "b", "")
    relay = make_relay(any_db, far)
    far.hold_outcomes()
    relay.broker.open()

    for _ in range(5):
        relay.step()

    assert rows_sent(far) == [rows[0], rows[2], rows[3], rows[6]]
    far.release_outcomes(list)
    relay.drain()
    assert sorted(rows_sent(far)) == rows
    assert [event.row for event in far.sent if event.key == "a"] == [
        rows[0],
        rows[1],
        rows[4],
    ]


def test_a_refused_event_holds_its_key_and_no_other(
    sqlite_db: str, far: memory.MemoryExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tried again is what fails, once the test says so.
    monkeypatch.setattr(settling, "backoff", lambda *_, **__: 600.0)
    rows = publish(sqlite_db, "a", "a", "b", "b")
    bad = publish(sqlite_db, "c", type="payment.refused")
    after = publish(sqlite_db, "c", "d")
    far.fail(Kind.REJECTED, pattern="payment.refused", times=1)
    relay = make_relay(sqlite_db, far)

    relay.drain()

    assert set(rows_sent(far)) == {*rows, after[1]}
    row = events(sqlite_db)[bad[0]]
    assert (row.attempts, row.state, row.last_error) == (1, "pending", "on request")
    OutboxEvent.objects.using(sqlite_db).update(retry_at=None)
    make_relay(sqlite_db, far).drain()
    assert not pending(sqlite_db)
    of_c = [event.row for event in far.sent if event.key == "c"]
    assert of_c == [bad[0], after[0]]


def test_two_relays_on_one_lane_keep_the_order(
    any_db: str, far: memory.MemoryExchange
) -> None:
    """One is paused past its lease with its backlog full, and wakes up."""
    rows = publish(any_db, *["a"] * 20, *["b"] * 20)
    clock = [1000.0]
    paused = make_relay(any_db, far, monotonic=lambda: clock[0], window=4, lease=10.0)
    far.hold_outcomes()
    paused.broker.open()
    paused.step()  # Holds all lanes, and has sent the first of each key.
    assert rows_sent(far) == [rows[0], rows[20]]
    expire_leases(any_db)
    far.holding = False

    make_relay(any_db, far).drain()
    far.release_outcomes(list)
    paused.step()  # It does not know yet how late it is, and goes on.
    clock[0] += 11
    paused.drain()

    assert pending(any_db) == 0
    assert first_copies([e.row for e in far.sent if e.key == "a"]) == rows[:20]
    assert first_copies([e.row for e in far.sent if e.key == "b"]) == rows[20:]
    # One window again, by G8.
    assert len(far.sent) <= len(rows) + 2 * 4


def test_after_a_lapse_the_backlog_of_before_is_not_sent(
    any_db: str, far: memory.MemoryExchange
) -> None:
    """Also where the same lanes come back at once."""
    rows = publish(any_db, *["a"] * 20)
    clock = [1000.0]
    paused = make_relay(any_db, far, monotonic=lambda: clock[0])
    far.hold_outcomes()
    paused.broker.open()
    paused.step()
    expire_leases(any_db)
    far.holding = False
    make_relay(any_db, far).drain()
    assert len(far.sent) == 21

    clock[0] += 11
    far.release_outcomes(list)
    paused.drain()

    assert len(far.sent) == 21
    assert first_copies(rows_sent(far)) == rows


@pytest.mark.parametrize("outcome", [Kind.REJECTED, Kind.RETURNED])
def test_a_stale_retry_or_parking_does_nothing(
    any_db: str, far: memory.MemoryExchange, outcome: Kind
) -> None:
    (row,) = publish(any_db, "a")
    stale = make_relay(any_db, far)
    far.hold_outcomes()
    far.fail(outcome)
    stale.broker.open()
    stale.step()
    Lane.objects.using(any_db).update(relay=None)  # Another has taken over.

    far.release_outcomes(list)
    stale._settling.settle(stale.broker.outcomes(0))

    event = events(any_db)[row]
    assert (event.state, event.attempts, event.last_error) == ("pending", 0, "")
    assert stale.totals.parked == stale.totals.retried == 0


def test_a_confirm_is_a_fact_without_any_lease(
    any_db: str, far: memory.MemoryExchange
) -> None:
    (row,) = publish(any_db, "a")
    stale = make_relay(any_db, far)
    far.hold_outcomes()
    stale.broker.open()
    stale.step()
    Lane.objects.using(any_db).update(relay=None)
    OutboxEvent.objects.using(any_db).update(
        parked_at="2025-01-01T00:00Z", parked_reason="rejected"
    )

    far.release_outcomes(list)
    stale._settling.settle(stale.broker.outcomes(0))
    stale._settling.mark(at_once=True)

    event = events(any_db)[row]
    assert (event.state, event.parked_at, event.parked_reason) == (
        "confirmed",
        None,
        "",
    )


def test_an_event_that_was_confirmed_is_no_more_parked(
    any_db: str, far: memory.MemoryExchange
) -> None:
    """Another relay's confirm came between our sending and our return."""
    (row,) = publish(any_db, "a")
    relay = make_relay(any_db, far)
    far.hold_outcomes()
    far.fail(Kind.RETURNED)
    relay.broker.open()
    relay.step()
    relay.marks.confirm([row])

    far.release_outcomes(list)
    relay._settling.settle(relay.broker.outcomes(0))

    assert events(any_db)[row].state == "confirmed"


def test_of_a_part_the_database_tells_what_follows_what(
    any_db: str, far: memory.MemoryExchange
) -> None:
    below, _ = publish(any_db, "a", "A")
    first, second = publish(any_db, "b", "b")
    publish(any_db, "c", type="mail.wanted")
    a, c, third, free, unkeyed = publish(any_db, "a", "c", "b", "d", "")
    later, other = publish(any_db, "c", "A")
    store = make_relay(any_db, far).store

    def look(*, parked_hold: bool = False) -> list[tuple[int, int | None]]:
        reach = Reach(range(LANES), [below], [], ["mail.wanted"], parked_hold)
        due = store.read_part(reach, 100, (first - 1, other))
        return [(each.event.row, each.older) for each in due]

    # What "a" follows is left out by its row; "c" follows what is left out by its type,
    # and the second "A" what is below the part: these stay away.
    assert look() == [
        (first, None),
        (second, first),
        (a, None),
        (third, second),
        (free, None),
        (unkeyed, None),
        (later, c),
    ]

    OutboxEvent.objects.using(any_db).filter(pk=second).update(
        parked_at=DatabaseNow(), parked_reason="rejected"
    )
    assert (third, first) in look()
    assert (third, second) in look(parked_hold=True)


class Clock:
    """A relay's own, which the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def expire_leases(alias: str) -> None:
    """As after a pause of everybody."""
    RelayProcess.objects.using(alias).update(expires_at="2020-01-01T00:00Z")


def test_a_full_queue_with_ever_so_many_keys_holds_up_no_other_type(
    any_db: str, far: memory.MemoryExchange
) -> None:
    """And order holds across the types; the full queue gets probes and no more."""
    far.fail(
        Kind.UNKNOWN,
        "a queue is full",
        pattern="mail.*",
        times=None,
        cause=Cause.NACKED,
    )
    keys = [f"k{n}" for n in range(100)]
    full = publish(any_db, *keys, "K99", "", "", type="mail.wanted")
    behind = publish(any_db, "k0", "k50", "k99", "K99")
    others = publish(any_db, *[f"other-{n}" for n in range(150)], "")

    clock = Clock()
    relay = make_relay(any_db, far, batch_size=5, poll_interval=0.1, monotonic=clock)
    relay.broker.open()

    def all_others_went() -> bool:
        clock.now += 0.05
        relay.step()
        return len(far.sent) >= len(others)

    wait_for(all_others_went)
    assert set(rows_sent(far)) == set(others)
    assert relay.held.types == {"mail.wanted"}
    far.mend()
    HeldType.objects.using(any_db).update(probe_at=DatabaseNow())

    def all_went() -> bool:
        clock.now += 0.5
        relay.step()
        return not (pending(any_db) or HeldType.objects.using(any_db).exists())

    wait_for(all_went)
    assert dict.fromkeys(rows_sent(far)).keys() == {*full, *behind, *others}
    of_key = {row: event.key for row, event in events(any_db).items()}
    for key in ("k0", "k50", "k99", "K99"):
        rows = [row for row in first_copies(rows_sent(far)) if of_key[row] == key]
        assert rows == sorted(rows)


def test_a_probe_is_the_oldest_that_waits_for_nothing_but_its_type(
    any_db: str, far: memory.MemoryExchange
) -> None:
    """However many of its type wait behind those of another."""
    far.fail(Kind.UNKNOWN, "full", pattern="*.wanted", times=None, cause=Cause.NACKED)
    keys = [f"k{n}" for n in range(20)]
    publish(any_db, *keys, type="sms.wanted")
    publish(any_db, *keys, type="mail.wanted")
    free, _ = publish(any_db, "free", "other", type="mail.wanted")
    clock = Clock()
    relay = make_relay(any_db, far, poll_interval=0.1, monotonic=clock)
    relay.broker.open()

    def both_were_probed() -> bool:
        clock.now += 0.5
        relay.step()
        HeldType.objects.using(any_db).update(probe_at=DatabaseNow())
        return len({event.type for event in far.probes}) == 2

    wait_for(both_were_probed)
    assert {event.row for event in far.probes if event.type == "mail.wanted"} == {free}
