"""An event's page: its story, its trace, and others of its key."""

from __future__ import annotations

import pytest

from django_strangler.clock import DatabaseNow
from django_strangler.models import OutboxEvent
from django_strangler.monitoring import timeline

from .conftest import page_of, text

TRACE = "https://jaeger.example.com/trace/{trace_id}"


@pytest.mark.django_db
def test_an_event_s_page_tells_its_story(handled, admin_client):
    page = admin_client.get(page_of(handled))

    assert [
        f"{each.what} {each.detail}".strip() for each in page.context["timeline"]
    ] == [
        "published",
        "refused 2 times: the broker refused it: resource-limit-exceeded",
        "confirmed",
        "handled by receipts",
        "handled by ledger",
    ]
    assert "flag-notifications-v2" in text(page)
    assert "&quot;paymentId&quot;: 42" in text(page)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("values", "story"),
    [
        ({}, "published, pending"),
        ({"available_at": DatabaseNow(60)}, "published, delayed until, pending"),
        (
            {"attempts": 1, "last_error": "no", "retry_at": DatabaseNow(90)},
            "published, refused once: no, next attempt",
        ),
        (
            {"attempts": 3, "parked_at": DatabaseNow(), "parked_reason": "attempts"},
            "published, refused 3 times:, parked: attempts",
        ),
    ],
)
def test_the_story_of_an_event_that_is_under_way(db, values, story):
    event = OutboxEvent.objects.create(type="payment.completed", body="{}", **values)
    event.refresh_from_db()

    told = timeline.timeline(event)

    assert ", ".join(f"{each.what} {each.detail}".strip() for each in told) == story


@pytest.mark.django_db
def test_the_trace_is_linked_where_there_is_one(handled, admin_client, settings):
    assert "Trace</a>" not in text(admin_client.get(page_of(handled)))

    settings.STRANGLER = {"TRACE_URL": TRACE}
    link = 'href="https://jaeger.example.com/trace/0af7651916cd43dd8448eb211c80319c"'
    assert link in text(admin_client.get(page_of(handled)))

    for headers in (
        {}, {"traceparent": "javascript:alert(1)"}, {"traceparent": 5}
    ):  # fmt: skip
        OutboxEvent.objects.update(headers=headers)
        assert "Trace</a>" not in text(admin_client.get(page_of(handled)))


@pytest.mark.parametrize("near", [10_000, 12])
def test_others_of_its_key_are_found_among_its_neighbours(any_db, near, monkeypatch):
    monkeypatch.setattr(timeline, "NEAR", near)
    keys = ["a", "b", "A", ""]
    OutboxEvent.objects.using(any_db).bulk_create(
        OutboxEvent(type=f"audit.n{number}", key=keys[number % 4], body="{}")
        for number in range(200)
    )
    event = OutboxEvent.objects.using(any_db).get(type="audit.n100")

    found = [int(each.type[7:]) for each in timeline.of_same_key(event)]

    shown = range(140, 59, -4) if near == 10_000 else range(108, 88, -4)
    assert found[0] <= 140
    assert set(found) <= set(shown)
    assert {96, 100, 104} <= set(found)
    assert found == sorted(found, reverse=True)
    other = OutboxEvent.objects.using(any_db).get(type="audit.n103")
    assert timeline.of_same_key(other) == []
