from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from django.core import checks
from django.db import connections, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from django_strangler import publish_event
from django_strangler.clock import DatabaseNow, seconds_until_sql
from django_strangler.models import OutboxEvent
from django_strangler.outbox.lanes import LANES, lane_of
from django_strangler.outbox.rows import Reach
from django_strangler.outbox.store import Store
from tests.services.plans import explained


def rows(alias):
    return OutboxEvent.objects.using(alias)


def test_states_are_verbs(any_db_rolled_back):
    alias = any_db_rolled_back
    with transaction.atomic(using=alias):
        pending, delayed, confirmed, parked, replayed = (
            publish_event("a.b", {}, delay=delay, using=alias).id
            for delay in (0, 60, 0, 0, 0)
        )
    rows(alias).filter(event_id=confirmed).update(confirmed_at=DatabaseNow())
    rows(alias).filter(event_id=parked).update(parked_at=DatabaseNow())
    rows(alias).filter(event_id=replayed).update(
        parked_at=DatabaseNow(), confirmed_at=DatabaseNow()
    )

    def ids(queryset):
        return {row.event_id for row in queryset}

    assert ids(rows(alias).pending()) == {pending, delayed}
    assert ids(rows(alias).confirmed()) == {confirmed, replayed}
    assert ids(rows(alias).parked()) == {parked}
    for state in ("pending", "confirmed", "parked"):
        assert {row.state for row in getattr(rows(alias), state)()} == {state}


def test_a_row_can_be_created_by_the_orm(any_db_rolled_back):
    alias = any_db_rolled_back
    rows(alias).create(type="a.b", body="[1]")

    row = rows(alias).get()
    assert row.payload == [1]
    assert row.as_event().published_at is not None
    assert rows(alias).filter(published_at__lte=Now()).exists()


def test_what_the_previous_release_inserts_is_enough(any_db_rolled_back):
    """Columns that come later have a default in the database, or may be null."""
    alias = any_db_rolled_back
    values = {
        "event_id": "6f2c1d9e000040008000000000000001",
        "type": "a.b",
        "key": "k",
        "lane": 3,
        "body": "{}",
        "size": 2,
        "headers": "{}",
        "correlation_id": "",
        "published_at": "2024-01-01 00:00:00",
    }
    quote = connections[alias].ops.quote_name
    with connections[alias].cursor() as cursor:
        cursor.execute(
            f"INSERT INTO strangler_outboxevent ({', '.join(map(quote, values))}) "
            f"VALUES ({', '.join(['%s'] * len(values))})",
            list(values.values()),
        )

    row = rows(alias).get()
    assert (row.state, row.attempts, row.last_error) == ("pending", 0, "")
    assert row.parked_reason == ""


def test_no_check_complains_on_any_database(any_db):
    messages = checks.run_checks(databases=[any_db])

    assert [each for each in messages if each.id != "strangler.W001"] == []


def test_the_clock_moves_and_can_be_moved(any_db_rolled_back):
    alias = any_db_rolled_back
    rows(alias).create(type="a.b", body="1", available_at=DatabaseNow(90.5))
    rows(alias).create(type="a.b", body="2", available_at=DatabaseNow(-1000))

    left = seconds_until_sql(connections[alias], "available_at")
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT {left} FROM strangler_outboxevent ORDER BY id", [])
        one, two = (float(seconds) for (seconds,) in cursor.fetchall())

    assert 80 < one < 90.6
    assert -1020 < two < -999.9
    assert rows(alias).get(available_at__lte=DatabaseNow()).payload == 2


def test_a_key_has_one_lane_for_ever():
    # Rows carry their lane: another hash would let two relays send one key's events.
    assert [lane_of(key) for key in ("payments.payment:42", "ü", "a")] == [0, 21, 3]
    assert {lane_of(f"k{number}") for number in range(500)} == set(range(LANES))


def test_events_without_a_key_take_turns():
    assert {lane_of("") for _ in range(LANES)} == set(range(LANES))


@pytest.mark.parametrize("delayed", [False, True])
def test_the_relay_s_reads_walk_the_index(any_db_rolled_back, delayed):
    alias = any_db_rolled_back
    long_ago = datetime(2024, 1, 1, tzinfo=timezone.utc)
    rows(alias).bulk_create(
        OutboxEvent(
            type="a.b", body="{}", confirmed_at=long_ago + timedelta(seconds=number)
        )
        for number in range(3000)
    )
    rows(alias).bulk_create(OutboxEvent(type="a.b", body="{}") for _ in range(1000))
    connection = connections[alias]
    store = Store(connection)
    with CaptureQueriesContext(connection) as queries:
        if delayed:
            store.read_delayed(Reach(range(LANES)), 100)
        else:
            assert len(store.read(Reach(range(LANES)), 100)) == 100
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {OutboxEvent._meta.db_table}")
    plan = str(explained(connection, queries[0]["sql"]))

    assert "strangler_outbox_queue" in plan
    for word in ("Sort", "filesort", "TEMP B-TREE"):
        assert word not in plan
