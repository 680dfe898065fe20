"""What the pages say, to whom, on which database, and how much they read for it."""

from __future__ import annotations

import re
from datetime import timedelta
from html.parser import HTMLParser
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.db import connection, connections
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import path, reverse
from django.utils import timezone

from django_strangler import feature_flags
from django_strangler.admin.flags import FlagAdmin
from django_strangler.admin.outbox import OutboxEventAdmin
from django_strangler.clock import DatabaseNow
from django_strangler.models import (
    ConsumerProcess,
    Flag,
    OutboxEvent,
)
from django_strangler.monitoring import timeline, traffic

from .conftest import DASHBOARD, HOSTILE, LIST, TURNED, page_of, pages, parked

TRACE = "https://jaeger.example.com/trace/{trace_id}"


def text(answer) -> str:
    assert answer.status_code == 200
    return answer.content.decode()


# The dashboard


@pytest.mark.django_db
def test_the_dashboard_says_how_things_are(busy_hour, admin_client):
    page = text(admin_client.get(DASHBOARD))

    assert "Events flow: 12 pending" in page
    assert "payments-1:4021" in page
    assert "25 % of users" in page
    assert "all is well" in page
    # It fetches itself, and offers the same to those without scripts.
    assert 'strangler/dashboard.js" defer' in page
    assert f'<a href="{DASHBOARD}">Refresh</a>' in page


@pytest.mark.django_db
def test_the_dashboard_says_what_is_wrong_and_what_to_do(admin_client):
    parked(1)

    page = text(admin_client.get(DASHBOARD))

    assert "No relay was ever seen. Start one: manage.py drain_outbox" in page
    assert "Events are being parked: payment.completed (unroutable)" in page


@pytest.mark.django_db
def test_the_dashboard_asks_little(
    busy_hour, staff, django_assert_max_num_queries, settings
):
    client = staff(
        "view_outboxevent", "replay_event", "discard_event", "view_flag",
        "switch_off_flag", "view_flagchange",
    )  # fmt: skip

    with django_assert_max_num_queries(12):
        assert "/off/" in text(client.get(DASHBOARD))


@pytest.mark.django_db
def test_the_dashboard_is_shown_on_every_database(any_db, route, admin_client):
    OutboxEvent.objects.using(any_db).create(type="audit.written", body="{}")
    route(any_db)

    page = text(admin_client.get(DASHBOARD))

    assert "1 published and 0 confirmed in the last hour" in page


@pytest.mark.django_db
def test_many_groups_and_processes_do_not_make_a_long_page(admin_client):
    for number in range(60):
        parked(1, type=f"audit.t{number}")
        ConsumerProcess.objects.create(name=f"consumer-{number}", queue="q")

    page = text(admin_client.get(DASHBOARD))

    assert page.count("/outboxevent/replay/") == 50
    assert page.count("consumer-") == 20


class OtherSite(admin.AdminSite):
    """A project's own, without all of our models."""


other = OtherSite(name="backoffice")
other.register(OutboxEvent, OutboxEventAdmin)
half = OtherSite(name="half")
half.register(Flag, FlagAdmin)
urlpatterns = [path("backoffice/", other.urls), path("half/", half.urls)]


@pytest.mark.django_db
@override_settings(ROOT_URLCONF=__name__)
def test_another_admin_site_has_it_as_well(admin_client):
    events = parked(2)
    feature_flags.set_rollout("payments-v2", 10)

    page = text(admin_client.get("/backoffice/strangler/"))
    assert "payments-v2" not in page
    replay = "/backoffice/strangler/outboxevent/replay/"
    assert f'href="{replay}?reason=unroutable&amp;type=payment.completed"' in page

    url = f"{replay}?event={events[0].pk}"
    asked = admin_client.get(url)
    answer = admin_client.post(url, asked.context["hidden"])
    assert answer["Location"].startswith("/backoffice/")

    page = text(admin_client.get("/half/strangler/"))
    assert "10 % of users" in page
    assert "strangler-verdict" not in page
    off = f"/half/strangler/flag/{Flag.objects.get().pk}/off/"
    assert off in page
    assert admin_client.post(off, {"why": "x"})["Location"] == "/half/strangler/"


# An event's page


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
            {"attempts": 1, "last_error": "no", "retry_at": DatabaseNow(9)},
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


# What others wrote into it


class Isolated(HTMLParser):
    """Finds text that could turn what stands beside it."""

    VOID = {"br", "hr", "img", "input", "link", "meta", "rect", "polyline"}
    # Blocks, and what is made to isolate: the direction ends where they end.
    ENDS = {"bdi", "pre", "title", "td", "th", "li", "h1", "h2", "p", "option"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.loose: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        assert not {name for name, _ in attributes if name.startswith("on")}
        assert "style" not in dict(attributes)
        if tag not in self.VOID:
            self.open.append((tag, dict(attributes)))

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if TURNED not in data:
            return
        tag, attributes = self.open[-1]
        # In Django's breadcrumbs it comes last.
        if tag not in self.ENDS and (
            attributes.get("class") not in ("readonly", "breadcrumbs")
        ):
            self.loose.append(f"<{tag}> {data[:80]}")


def test_what_means_harm_is_shown_harmlessly(hostile, admin_client):
    for place in pages(hostile):
        page = text(admin_client.get(place, follow=True))

        parser = Isolated()
        parser.feed(page)
        assert "<script>alert" not in page, place
        assert "i" not in parser.tags, place
        assert len(page) < 250_000, place
        # In Django's list, each stands in a cell of its own.
        assert parser.loose == [] or place == LIST, place


def test_a_group_of_a_hostile_type_can_still_be_replayed(hostile, admin_client):
    page = text(admin_client.get(DASHBOARD))
    links = re.findall(r'href="(/admin/strangler/outboxevent/replay/[^"]*)"', page)
    (url,) = (link.replace("&amp;", "&") for link in links if "script" in link)

    asked = admin_client.get(url)
    admin_client.post(url, asked.context["hidden"])

    assert OutboxEvent.objects.get(type=HOSTILE).state == "pending"


def test_a_group_that_was_parked_on_the_second_is_replayed(db, admin_client):
    parked(1, reason="unroutable")
    with connection.cursor() as cursor:  # As SQLite itself writes that time.
        cursor.execute(
            "UPDATE strangler_outboxevent SET parked_at = '2026-01-02 03:04:05.000'"
        )
    group = {"reason": "unroutable", "type": OutboxEvent.objects.get().type}
    url = f"{reverse('admin:strangler_outboxevent_replay')}?{urlencode(group)}"

    asked = admin_client.get(url)
    admin_client.post(url, asked.context["hidden"])

    assert OutboxEvent.objects.get().state == "pending"


# How much is read


@pytest.mark.django_db
def test_every_query_is_on_an_index(any_db, route, monkeypatch, admin_client):
    # As small a part of the few rows here as it is of millions.
    monkeypatch.setattr(traffic, "EXACT", 200)
    monkeypatch.setattr(traffic, "SAMPLED", 200)
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
    middle = rows.get(id=rows.latest("id").pk - 5_000)
    group = reverse("admin:strangler_outboxevent_discard")
    group += "?reason=unroutable&type=payment.completed"

    with CaptureQueriesContext(connection) as queries:
        text(admin_client.get(DASHBOARD))
        text(admin_client.get(page_of(middle)))
        asked = admin_client.get(group)
        admin_client.post(group, asked.context["hidden"])

    explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    seen = [query["sql"] for query in queries]
    seen = [sql for sql in seen if "outboxevent" in sql]
    assert len(seen) > 10
    with connection.cursor() as cursor:
        for sql in seen:
            cursor.execute(f"{explain} {sql}")
            assert_uses_an_index(cursor.fetchall(), connection.vendor)


def assert_uses_an_index(plan: list[tuple], vendor: str) -> None:
    lines = "\n".join(" ".join(map(str, line)) for line in plan)
    table = OutboxEvent._meta.db_table
    assert f"Seq Scan on {table}" not in lines, lines[:3000]
    assert not re.search(rf"SCAN {table}(?! USING)", lines), lines[:3000]
    if vendor == "mysql":
        # The key that is used; "ALL" reads the whole table.
        assert all(line[5] for line in plan if line[2] == table), lines[:3000]
