"""How things stand: read right, and quickly."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.db import connections

from django_strangler.clock import DatabaseNow
from django_strangler.models import OutboxEvent, Pause
from django_strangler.monitoring import flow
from django_strangler.monitoring import state as module
from django_strangler.monitoring.state import COUNTED, look
from django_strangler.outbox.pauses import pause, resume
from tests.monitoring.factories import add, add_consumer, add_held, add_relay, fill
from tests.services.plans import explained


def test_what_is_pending_and_due_is_told_apart(db):
    add_relay(db)
    add(db, published=30)
    add(db, published=500, available=100)  # Its time has not come.
    add(db, published=500, confirmed=1)
    add(db, published=500, parked=100)

    state = look(db)

    assert (state.pending, state.more_pending) == (2, False)
    assert state.oldest_due == pytest.approx(30, abs=20)


def test_a_delayed_event_is_due_from_its_time_on(db):
    add(db, published=500, available=-40)
    add(db, published=10)

    assert look(db).oldest_due == pytest.approx(40, abs=20)


def test_an_event_that_was_refused_is_due_from_its_next_attempt_on(db):
    add(db, published=500, retry=30)
    assert look(db).oldest_due is None

    OutboxEvent.objects.using(db).update(retry_at=DatabaseNow(-20))
    assert look(db).oldest_due == pytest.approx(20, abs=20)


def test_too_many_that_were_refused_hide_nobody(db, monkeypatch):
    monkeypatch.setattr(module, "SEARCHED", 2)
    for _ in range(2):
        add(db, published=500, retry=30)
    add(db, published=400)

    assert look(db).oldest_due == pytest.approx(500, abs=20)


def test_parked_events_are_counted_by_reason_and_type(db):
    for age in (5, 50):
        add(db, parked=age, parked_reason="unroutable")
    add(db, parked=70, parked_reason="rejected", type="user.created")

    first, second = look(db).parked

    assert (first.reason, first.type, first.count) == (
        "unroutable",
        "payment.completed",
        2,
    )
    assert first.newest == pytest.approx(5, abs=20)
    assert (second.reason, second.type, second.count) == (
        "rejected",
        "user.created",
        1,
    )


def test_counting_ends_somewhere(db, monkeypatch):
    monkeypatch.setattr(module, "COUNTED", 5)
    fill(db, pending=7, parked=8)

    state = look(db)

    assert (state.pending, state.more_pending) == (5, True)
    assert state.more_parked
    assert state.parked_count == 5
    assert "more than 5 pending" in flow._shown(state)


def test_relays_and_consumers_are_told_apart_from_dead_ones(db):
    add_relay(db, left=800, length=1000, name="new:1")
    add_relay(db, left=-3, lanes=0, name="old:1")
    add_relay(db, left=500, lanes=0, name="other-clock:1")
    add_consumer(db)
    add_consumer(db, left=-40)

    state = look(db)

    (relay,) = state.live_relays
    assert (relay.name, relay.lanes) == ("new:1", 32)
    assert relay.heartbeat == pytest.approx(200, abs=100)
    assert len(state.relays) == 3
    (consumer,) = state.live_consumers
    assert consumer.patterns == ("payment.*", "audit.#")
    assert len(state.consumers) == 2


def test_what_is_held_and_paused_is_seen_while_it_is(db):
    add_held(db)
    add_held(db, "user.created", parks=True)  # Sent, and parked when it is returned.
    pause(Pause.Scope.KEY, "payment:7", by="ada", why="double charge", using=db)
    pause(Pause.Scope.ALL, using=db)
    resume(Pause.Scope.ALL, using=db)

    state = look(db)

    (held,) = state.held
    assert (held.type, held.cause, held.tries) == ("payment.completed", "nacked", 7)
    assert held.reason == "A queue is full."
    assert held.age == pytest.approx(300, abs=20)
    assert held.next_probe == pytest.approx(40, abs=20)
    (paused,) = state.paused
    assert (paused.scope, paused.name, paused.by, paused.why) == (
        "key",
        "payment:7",
        "ada",
        "double charge",
    )
    assert paused.age == pytest.approx(0, abs=20)


def test_a_queue_that_was_given_up_is_missed_for_a_week(db):
    add_consumer(db, left=-6 * 86400)
    add_consumer(db, left=-8 * 86400, queue="old")

    assert [consumer.queue for consumer in look(db).consumers] == ["receipts"]


def test_the_host_s_clock_is_compared_with_the_database_s(db, monkeypatch):
    assert abs(look(db).host_ahead) < 20

    class Ahead(datetime):
        @classmethod
        def now(cls, zone):
            return datetime.now(zone) + timedelta(seconds=420)

    monkeypatch.setattr(module, "datetime", Ahead)
    assert look(db).host_ahead == pytest.approx(420, abs=20)


@pytest.mark.parametrize("pending", [100, COUNTED + 10])
def test_a_look_reads_the_index_and_little_else(db, pending):
    fill(db, confirmed=20_000, pending=pending, parked=200)
    connection = connections[db]
    sql = module._outbox(connection)

    plan = explained(connection, sql, ["2026-01-01 00:00:00+00:00"])

    text = "\n".join(str(line) for line in plan)
    assert "strangler_outbox_queue" in text
    assert "Seq Scan on strangler_outboxevent" not in text
    assert "SCAN strangler_outboxevent" not in text
    if connection.vendor == "mysql":
        table = [line for line in plan if line["table"] == "strangler_outboxevent"]
        assert {line["key"] for line in table} == {"strangler_outbox_queue"}, text
        assert not any("filesort" in str(line["Extra"]) for line in table), text
