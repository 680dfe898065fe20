"""How things stand: read quickly, and judged."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest
from django.db import connections

from django_strangler import conf
from django_strangler.clock import DatabaseNow
from django_strangler.models import OutboxEvent, RelayProcess
from django_strangler.monitoring import state as module
from django_strangler.monitoring.state import COUNTED, look, recent, span, verdict
from tests.monitoring.factories import add, add_consumer, add_relay, fill

SETTINGS = conf.Settings()


def judge(alias: str) -> module.Verdict:
    return verdict(look(alias), SETTINGS)


def test_an_empty_outbox_with_a_relay_is_well(db):
    add_relay(db)

    state = look(db)

    assert (state.pending, state.oldest_due, state.parked) == (0, None, ())
    assert verdict(state, SETTINGS).ready
    assert verdict(state, SETTINGS).sentence == (
        "Events flow: 0 pending, 1 relay lives."
    )


def test_what_is_pending_and_due_is_told_apart(db):
    add_relay(db)
    add(db, published=30)
    add(db, published=500, available=100)  # Its time has not come.
    add(db, published=500, confirmed=1)
    add(db, published=500, parked=100)

    state = look(db)

    assert (state.pending, state.more_pending) == (2, False)
    assert state.oldest_due == pytest.approx(30, abs=5)


def test_a_delayed_event_is_due_from_its_time_on(db):
    add(db, published=500, available=-40)
    add(db, published=10)

    assert look(db).oldest_due == pytest.approx(40, abs=5)


def test_an_event_that_was_refused_is_due_from_its_next_attempt_on(db):
    add(db, published=500, retry=30)
    assert look(db).oldest_due is None

    OutboxEvent.objects.using(db).update(retry_at=DatabaseNow(-20))
    assert look(db).oldest_due == pytest.approx(20, abs=5)


def test_too_many_that_were_refused_hide_nobody(db, monkeypatch):
    monkeypatch.setattr(module, "SEARCHED", 2)
    for _ in range(2):
        add(db, published=500, retry=30)
    add(db, published=400)

    assert look(db).oldest_due == pytest.approx(500, abs=5)


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
    assert first.newest == pytest.approx(5, abs=5)
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
    assert "more than 5 pending" in module._shown(state)


def test_relays_and_consumers_are_told_apart_from_dead_ones(db):
    add_relay(db, left=8, length=10, name="new:1")
    add_relay(db, left=-3, lanes=0, name="old:1")
    add_relay(db, left=500, lanes=0, name="other-clock:1")
    add_consumer(db)
    add_consumer(db, left=-40)

    state = look(db)

    (relay,) = state.live_relays
    assert (relay.name, relay.lanes) == ("new:1", 32)
    assert relay.heartbeat == pytest.approx(2, abs=3)
    assert len(state.relays) == 3
    (consumer,) = state.live_consumers
    assert consumer.patterns == ("payment.*", "audit.#")
    assert len(state.consumers) == 2


def test_without_any_relay_ever_it_is_not_ready(db):
    found = judge(db)

    assert not found.ready
    assert found.reasons == (
        "No relay was ever seen. Start one: manage.py drain_outbox",
    )


def test_a_relay_that_died_makes_it_unready_until_somebody_has_its_lanes(db):
    add_relay(db, left=-7, length=10)
    pattern = r"The relay web-1:17 died, (17|18|19|20) s ago\. Start one: .*"
    assert re.fullmatch(pattern, judge(db).sentence)

    # A task drained meanwhile, and is gone.
    module.Lane.objects.using(db).update(relay=None)
    assert judge(db).ready


def test_a_relay_that_stopped_is_missed_once_an_event_waits(db):
    add_relay(db)
    RelayProcess.objects.using(db).all().delete()
    add(db, published=59)
    assert judge(db).ready

    add(db, published=61)
    assert "No relay lives: run manage.py drain_outbox" in judge(db).sentence


def test_an_old_due_event_makes_it_unready(db):
    add_relay(db)
    add(db, published=7200)

    assert "The oldest due event waits for 2 h." in judge(db).sentence


def test_events_that_are_being_parked_make_it_unready(db):
    add_relay(db)
    add(db, parked=61, parked_reason="unroutable")
    assert judge(db).ready

    add(db, parked=1, parked_reason="rejected")
    assert "payment.completed (rejected)" in judge(db).sentence
    assert "(unroutable)" not in judge(db).sentence


def test_the_host_s_clock_is_compared_with_the_database_s(db, monkeypatch):
    assert abs(look(db).host_ahead) < 0.5

    class Ahead(datetime):
        @classmethod
        def now(cls, zone):
            return datetime.now(zone) + timedelta(seconds=420)

    monkeypatch.setattr(module, "datetime", Ahead)
    assert look(db).host_ahead == pytest.approx(420, abs=0.5)


def test_who_asks_often_looks_seldom(db, django_assert_num_queries):
    with django_assert_num_queries(3, using=db):
        first = recent(db, seconds=60)
        assert recent(db, seconds=60) is first

    assert recent(db, seconds=0) is not first


@pytest.mark.parametrize("pending", [100, COUNTED + 10])
def test_a_look_reads_the_index_and_little_else(db, pending):
    fill(db, confirmed=20_000, pending=pending, parked=200)
    connection = connections[db]
    sql = f"{explain(connection.vendor)} {module._outbox(connection)}"

    plan = module._fetch(connection, sql, ["2026-01-01 00:00:00+00:00"])

    text = "\n".join(str(line) for line in plan)
    assert "strangler_outbox_queue" in text
    assert "Seq Scan on strangler_outboxevent" not in text
    assert "SCAN strangler_outboxevent" not in text
    if connection.vendor == "mysql":
        table = [line for line in plan if line[2] == "strangler_outboxevent"]
        assert {line[5] for line in table} == {"strangler_outbox_queue"}, text
        assert not any("filesort" in str(line[-1]) for line in table), text


def explain(vendor: str) -> str:
    return "EXPLAIN QUERY PLAN" if vendor == "sqlite" else "EXPLAIN"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7300, "2 h"), (800_000, "9 days")],
)
def test_seconds_as_people_say_them(seconds, text):
    assert span(seconds) == text
