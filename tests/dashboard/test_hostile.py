"""What others wrote into a row is shown harmlessly, and takes no page away."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from django.db import connection
from django.urls import reverse

from django_strangler import feature_flags
from django_strangler.models import Flag, OutboxEvent

from .conftest import DASHBOARD, HOSTILE, LIST, TURNED, pages, text


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


def test_a_long_reason_does_not_fill_the_history(hostile, admin_client):
    page = text(admin_client.get(reverse("admin:strangler_flagchange_changelist")))

    assert "<script>alert" not in page
    assert len(page) < 250_000


@pytest.mark.django_db
def test_a_flag_that_cannot_be_used_takes_no_page_away(admin_client):
    feature_flags.set_rollout("payments-v2", 10)
    feature_flags.set_rollout("notifications-v2", 25)
    with connection.cursor() as cursor:  # Nobody else can.
        sql = "UPDATE strangler_flag SET ramp = %s WHERE name = 'payments-v2'"
        cursor.execute(sql, ['{"steps": 3}'])
    flag = Flag.objects.get(name="payments-v2")
    off = reverse("admin:strangler_flag_off", args=[flag.pk])

    for place in (
        DASHBOARD,
        reverse("admin:strangler_flag_changelist"),
        reverse("admin:strangler_flag_change", args=[flag.pk]),
        off,
    ):
        assert "Cannot be used: " in text(admin_client.get(place))
    assert "25 % of users" in text(admin_client.get(DASHBOARD))
    answer = admin_client.post(off, {"why": "it is broken"}, follow=True)
    assert "is not a ramp" in str(*answer.context["messages"])
