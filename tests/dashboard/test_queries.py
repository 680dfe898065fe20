"""Each query of each page goes by an index, on each database."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_strangler.admin import bounded
from django_strangler.models import OutboxEvent
from django_strangler.monitoring import traffic
from tests.services.plans import explained

from .conftest import DASHBOARD, LIST, page_of, text

FIRST = re.compile(
    r"FROM .strangler_outboxevent. ORDER BY (1|\S+id.) (DESC|ASC) LIMIT \d+"
)


@pytest.fixture
def many(any_db, route, monkeypatch) -> str:
    """As small a part of these few rows is read as it is of millions."""
    monkeypatch.setattr(traffic, "EXACT", 200)
    monkeypatch.setattr(traffic, "SAMPLED", 200)
    monkeypatch.setattr(bounded, "COUNTED", 200)
    monkeypatch.setattr(bounded, "SEARCHED", 200)
    route(any_db)
    now, rows = timezone.now(), OutboxEvent.objects.using(any_db)
    rows.bulk_create(
        OutboxEvent(
            type="payment.completed",
            key=f"payments.payment:{number % 100}",
            body="{}",
            published_at=now - timedelta(seconds=10_000 - number),
            confirmed_at=now - timedelta(seconds=9_999 - number)
            if number < 9_900
            else None,
            parked_at=now if number >= 9_950 else None,
            parked_reason="unroutable",
        )
        for number in range(10_000)
    )
    connection = connections[any_db]
    with connection.cursor() as cursor:
        table = "TABLE " if connection.vendor == "mysql" else ""
        cursor.execute(f"ANALYZE {table}{OutboxEvent._meta.db_table}")
    connection.close()  # SQLite reads statistics when it connects.
    return any_db


@pytest.mark.django_db
def test_every_query_is_on_an_index(many, admin_client):
    rows = OutboxEvent.objects.using(many)
    middle = rows.get(id=rows.latest("id").pk - 5_000)
    group = reverse("admin:strangler_outboxevent_discard")
    group += "?reason=unroutable&type=payment.completed"

    states = ["", "pending", "delayed", "parked", "confirmed"]
    filters = (
        {},
        {"type": "payment.completed"},
        {"q": "payments.payment:7"},
    )

    with CaptureQueriesContext(connections[many]) as of_lists:
        for state, more in product(states, filters):
            text(admin_client.get(LIST, {"state": state, **more}))
    with CaptureQueriesContext(connections[many]) as of_pages:
        text(admin_client.get(DASHBOARD))
        text(admin_client.get(page_of(middle)))
        asked = admin_client.get(group)
        admin_client.post(group, asked.context["hidden"])

    assert_use_an_index(of_lists, many)
    assert_use_an_index(of_pages, many)


def assert_use_an_index(queries: CaptureQueriesContext, alias: str) -> None:
    connection = connections[alias]
    seen = [query["sql"] for query in queries]
    seen = [sql for sql in seen if "outboxevent" in sql]
    # Whoever asks for the first rows by id, and for no others, gets them at once.
    seen = [sql for sql in seen if not FIRST.search(sql)]
    assert len(seen) > 10
    for sql in seen:
        assert_uses_an_index(explained(connection, sql), connection.vendor, sql)


def assert_uses_an_index(plan: list[dict[str, Any]], vendor: str, sql: str) -> None:
    lines = "\n".join([sql, *(" ".join(map(str, line.values())) for line in plan)])
    table = OutboxEvent._meta.db_table
    assert f"Seq Scan on {table}" not in lines, lines[:3000]
    assert not re.search(rf"SCAN {table}(?! USING)", lines), lines[:3000]
    if vendor == "mysql":
        # The key that is used; "ALL" reads the whole table.
        assert all(line["key"] for line in plan if line["table"] == table), lines[:3000]
