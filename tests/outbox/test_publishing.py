from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from django.db import connections, transaction
from django.db.backends.base.introspection import TableInfo
from django.test.utils import CaptureQueriesContext
from django.utils import timezone as django_timezone
from opentelemetry.sdk.trace import TracerProvider

from django_strangler import publish_event, publish_events
from django_strangler.events import Event, new_id
from django_strangler.exceptions import (
    InvalidEvent,
    InvalidType,
    OutboxUnavailable,
    PayloadTooLarge,
    StranglerError,
)
from django_strangler.models import OutboxEvent
from django_strangler.outbox import insertion, publishing
from django_strangler.outbox.lanes import lane_of

PAYLOAD = {"paymentId": 42, "amount": Decimal("12.50"), "note": "ü😀"}


class On:
    name = "notifications-v2"


def rows(alias):
    return OutboxEvent.objects.using(alias).order_by("id")


def test_an_event_is_stored_as_it_was_published(any_db_rolled_back):
    alias = any_db_rolled_back
    with transaction.atomic(using=alias):
        event = publish_event(
            "payment.completed",
            PAYLOAD,
            key="payments.payment:42",
            headers={"tenant": "a", "vip": True, "count": 2**62},
            flags=[On()],
            correlation_id="r-1",
            using=alias,
        )

    row = rows(alias).get()
    assert row.as_event() == event
    assert row.event_id == event.id
    assert row.payload == {"paymentId": 42, "amount": "12.50", "note": "ü😀"}
    assert row.headers == {
        "tenant": "a",
        "vip": True,
        "count": 2**62,
        "flag-notifications-v2": "on",
    }
    assert row.size == len(row.body.encode())
    assert row.lane == lane_of("payments.payment:42")
    assert row.state == "pending"
    assert (row.attempts, row.last_error, row.parked_reason) == (0, "", "")
    assert (row.available_at, row.retry_at) == (None, None)


def test_publishing_is_one_statement(any_db_rolled_back):
    alias = any_db_rolled_back
    with (
        transaction.atomic(using=alias),
        CaptureQueriesContext(connections[alias]) as queries,
    ):
        publish_event("payment.completed", PAYLOAD, key="k", using=alias)

    assert len(queries) == 1
    assert queries[0]["sql"].startswith("INSERT")


def test_the_time_is_the_database_s_and_aware(any_db_rolled_back):
    alias = any_db_rolled_back
    with transaction.atomic(using=alias):
        event = publish_event("payment.completed", {}, using=alias)

    assert abs(event.published_at - datetime.now(timezone.utc)) < timedelta(seconds=60)
    assert rows(alias).get().as_event().published_at == event.published_at


@pytest.mark.parametrize("form", ["seconds", "timedelta", "time"])
def test_a_delayed_event_waits(any_db_rolled_back, form):
    alias = any_db_rolled_back
    hour = timedelta(hours=1)
    delay = {
        "seconds": 3600,
        "timedelta": hour,
        "time": datetime.now(timezone(timedelta(hours=7))) + hour,
    }[form]
    with transaction.atomic(using=alias):
        event = publish_event("payment.completed", {}, delay=delay, using=alias)

    wait = rows(alias).get().available_at - event.published_at
    assert abs(wait - hour) < timedelta(seconds=60)


def test_many_events_are_one_insert_per_few_hundred(any_db_rolled_back):
    alias = any_db_rolled_back
    events = [
        Event(type="payment.completed", payload={"n": n, "ü": "😀"}, key=f"k{n}")
        for n in range(700)
    ]
    with (
        transaction.atomic(using=alias),
        CaptureQueriesContext(connections[alias]) as queries,
    ):
        published = publish_events(iter(events), using=alias)

    inserts = [query for query in queries if query["sql"].startswith("INSERT")]
    at_most = 8 if connections[alias].vendor == "sqlite" else 2
    assert len(inserts) <= at_most
    assert [event.id for event in published] == [event.id for event in events]
    assert [row.as_event() for row in rows(alias)] == published
    assert [row.payload["n"] for row in rows(alias)] == list(range(700))


def test_one_insert_stays_below_a_packet(any_db_rolled_back, monkeypatch):
    alias = any_db_rolled_back
    monkeypatch.setattr(insertion, "BYTES", 1000)
    events = [Event(type="a.b", payload="x" * 400) for _ in range(5)]
    with (
        transaction.atomic(using=alias),
        CaptureQueriesContext(connections[alias]) as queries,
    ):
        publish_events(events, using=alias)

    assert sum(query["sql"].startswith("INSERT") for query in queries) == 3


def test_no_events_are_no_statement(any_db_rolled_back):
    alias = any_db_rolled_back
    with CaptureQueriesContext(connections[alias]) as queries:
        assert publish_events([], using=alias) == []

    assert len(queries) == 0


def test_many_events_are_checked_before_the_first_is_written(any_db_rolled_back):
    alias = any_db_rolled_back
    good = Event(type="a.b", payload={})
    bad = [
        Event(type="a", payload={}),
        Event(type="a.b", payload=float("nan")),
        Event(type="a.b", payload={}, headers={"flag-x": "on"}),
        Event(type="a.b", payload={}, key="\x00"),
        Event(type="a.b", payload={}, id="1"),
        {"type": "a.b"},
        good,
    ]
    for other in bad:
        with (
            transaction.atomic(using=alias),
            CaptureQueriesContext(connections[alias]) as queries,
            pytest.raises(StranglerError),
        ):
            publish_events([good, other], using=alias)

        assert not [q for q in queries if "SAVEPOINT" not in q["sql"]]
    assert not rows(alias).exists()


def test_publish_events_takes_no_idempotency_key():
    with pytest.raises(TypeError, match="idempotency_key"):
        publish_events([], idempotency_key="k")
    with pytest.raises(TypeError, match="idempotency_key"):
        Event(type="a.b", payload={}, idempotency_key="k")


def test_an_event_is_published_once_only(any_db_rolled_back):
    alias = any_db_rolled_back
    with transaction.atomic(using=alias):
        first = publish_event("a.b", {"n": 1}, using=alias)
        with pytest.raises(InvalidEvent, match="published before"):
            publish_events([Event(type="a.b", payload={}), first], using=alias)
        publish_event("a.b", {"n": 2}, using=alias)

    assert [row.payload for row in rows(alias)] == [{"n": 1}, {"n": 2}]


BAD = [
    {"type": "payment"},
    {"payload": {"a": {1, 2}}},
    {"payload": "a" * (1024 * 1024)},
    {"key": "k" * 256},
    {"headers": {"trace": 1}},
    {"flags": [SimpleNamespace(name="")]},
    {"delay": datetime(2030, 1, 1)},
    {"correlation_id": "\x00"},
    {"idempotency_key": ""},
    {"idempotency_key": 7},
    {"using": "elsewhere"},
    {"using": 7},
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: next(iter(bad)))
def test_bad_input_is_refused_before_any_sql(any_db_rolled_back, bad):
    alias = any_db_rolled_back
    with transaction.atomic(using=alias):
        publish_event("a.b", 1, using=alias)
        with (
            CaptureQueriesContext(connections[alias]) as queries,
            pytest.raises(StranglerError),
        ):
            publish_event(
                **{"type": "a.b", "payload": {}, "using": alias, **bad},
            )
        publish_event("a.b", 2, using=alias)

    assert len(queries) == 0
    assert [row.payload for row in rows(alias)] == [1, 2]


def test_the_limit_is_a_setting(settings, any_db_rolled_back):
    settings.STRANGLER = {"MAX_PAYLOAD_BYTES": 10}
    with pytest.raises(PayloadTooLarge, match="MAX_PAYLOAD_BYTES"):
        publish_event("a.b", "x" * 9, using=any_db_rolled_back)


def test_a_type_of_another_kind_of_text_is_stored_plain(any_db_rolled_back):
    alias = any_db_rolled_back
    with transaction.atomic(using=alias), pytest.raises(InvalidType):
        publish_event(None, {}, using=alias)


def test_a_database_without_the_table_is_told(make_db):
    alias = make_db("sqlite")
    with connections[alias].schema_editor() as editor:
        editor.delete_model(OutboxEvent)
    with transaction.atomic(using=alias), pytest.raises(OutboxUnavailable) as error:
        publish_event("a.b", {}, using=alias)

    assert "migrate strangler --database" in str(error.value)
    # Without a transaction that is still what matters.
    with pytest.raises(OutboxUnavailable):
        publish_event("a.b", {}, using=alias)


@pytest.fixture
def asks_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process knows of no database yet: a test's may serve the next one."""
    monkeypatch.setattr(publishing, "_with_table", set())


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_missing_table_breaks_no_transaction(make_db, asks_anew, kind):
    alias = make_db(kind)
    with connections[alias].schema_editor() as editor:
        editor.delete_model(OutboxEvent)
    with transaction.atomic(using=alias):
        with pytest.raises(OutboxUnavailable):
            publish_event("a.b", {}, using=alias)
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,)


def test_a_table_in_another_schema_of_the_search_path_is_found(make_db):
    alias = make_db("postgresql")
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute('CREATE SCHEMA "Tenant-A"')
        cursor.execute('CREATE TABLE "Tenant-A".only_theirs (id int)')
        cursor.execute('SET search_path = "Tenant-A", public')

    def tables_of_the_tenant(cursor):  # As django-tenants has it.
        return [TableInfo("only_theirs", "t")]

    with (
        patch.object(connection.introspection, "get_table_list", tables_of_the_tenant),
        transaction.atomic(using=alias),
    ):
        publish_event("a.b", {}, using=alias)

    assert OutboxEvent.objects.using(alias).count() == 1


def test_the_trace_that_is_current_travels_along(any_db_rolled_back):
    alias = any_db_rolled_back
    tracer = TracerProvider().get_tracer("test")
    with transaction.atomic(using=alias), tracer.start_as_current_span("view") as span:
        one = publish_event("a.b", {}, using=alias)
        [other] = publish_events([Event(type="a.b", payload={})], using=alias)

    trace_id = f"{span.get_span_context().trace_id:032x}"
    for event in (one, other):
        assert event.headers["traceparent"].split("-")[1] == trace_id


def test_without_a_trace_there_is_no_header(any_db_rolled_back):
    alias = any_db_rolled_back
    with transaction.atomic(using=alias):
        assert publish_event("a.b", {}, using=alias).headers == {}


def test_without_use_tz_times_are_the_project_s(make_db, settings, any_kind):
    settings.USE_TZ = False
    settings.TIME_ZONE = "Asia/Bangkok"
    alias = make_db(any_kind)
    hour = timedelta(hours=1)
    with transaction.atomic(using=alias):
        now = publish_event("a.b", {}, delay=3600, using=alias)
        then = datetime.now(timezone.utc) + hour
        publish_event("a.b", {}, delay=then, using=alias)

    assert abs(now.published_at - datetime.now(timezone.utc)) < timedelta(seconds=60)
    for row in rows(alias):
        assert django_timezone.is_naive(row.published_at)
        assert row.as_event().published_at.utcoffset() is not None
        local = datetime.now(ZoneInfo("Asia/Bangkok")).replace(tzinfo=None)
        assert abs(row.published_at - local) < timedelta(seconds=60)
        assert abs(row.available_at - row.published_at - hour) < timedelta(seconds=60)


@pytest.mark.parametrize("kind", ["sqlite", "mariadb"])
def test_a_database_may_keep_times_of_another_zone(make_db, kind):
    alias = make_db(kind)
    connections[alias].settings_dict["TIME_ZONE"] = "Asia/Bangkok"
    for name in ("timezone", "timezone_name"):
        vars(connections[alias]).pop(name, None)
    with transaction.atomic(using=alias):
        event = publish_event("a.b", {}, delay=3600, using=alias)

    row = rows(alias).get()
    assert row.published_at == event.published_at
    assert abs(event.published_at - datetime.now(timezone.utc)) < timedelta(seconds=60)
    hour = timedelta(hours=1)
    assert abs(row.available_at - row.published_at - hour) < timedelta(seconds=60)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("mariadb", {"init_command": "SET time_zone = '+07:00'"}),
        ("postgresql", {"options": "-c TimeZone=Asia/Bangkok"}),
    ],
)
def test_a_server_s_own_zone_does_not_matter(make_db, kind, options):
    alias = make_db(kind, **options)
    with transaction.atomic(using=alias):
        event = publish_event("a.b", {}, using=alias)

    assert abs(event.published_at - datetime.now(timezone.utc)) < timedelta(seconds=60)


def test_what_is_sent_is_what_was_written(any_db_rolled_back):
    alias = any_db_rolled_back
    with transaction.atomic(using=alias):
        publish_event("a.b", {"b": 1.2345678901234567e25, "a": "ü"}, using=alias)

    assert rows(alias).get().body == '{"b":1.2345678901234566e+25,"a":"\\u00fc"}'
    assert json.loads(rows(alias).get().body) == {"b": 1.2345678901234567e25, "a": "ü"}


def test_ids_are_not_repeated():
    assert len({new_id() for _ in range(1000)}) == 1000
