"""The app's page: what it says, to whom it belongs, and for how few queries."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.test import override_settings
from django.urls import path
from django.utils.html import escape

from django_strangler import feature_flags
from django_strangler.admin.flags import FlagAdmin
from django_strangler.admin.outbox import OutboxEventAdmin
from django_strangler.clock import DatabaseNow
from django_strangler.models import (
    ConsumerProcess,
    Flag,
    Lane,
    OutboxEvent,
    Pause,
    RelayProcess,
)
from django_strangler.monitoring import dashboard
from django_strangler.outbox.pauses import pause
from tests.monitoring.factories import add_held

from .conftest import DASHBOARD, HOSTILE, parked, text


@pytest.mark.django_db
def test_the_dashboard_says_how_things_are(busy_hour, admin_client):
    page = text(admin_client.get(DASHBOARD))

    assert "Events flow: 12 pending" in page
    # Parked ones are no green matter.
    assert '<div class="strangler-verdict concern"' in page
    assert "35 events are parked: audit.written (unroutable), payment.refunded" in page
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
def test_what_is_held_or_paused_makes_it_amber_and_says_since_when_and_why(
    busy_hour, admin_client
):
    OutboxEvent.objects.all().delete()
    add_held("default", HOSTILE, reason=HOSTILE)
    pause(Pause.Scope.KEY, HOSTILE, by="ada", why="charged twice", using="default")

    page = text(admin_client.get(DASHBOARD))

    assert 'class="strangler-verdict concern"' in page
    shown = escape(HOSTILE)
    assert f"is held for 5 min: {shown}. Make room in its queue" in page
    assert f"<bdi>{shown}</bdi></a> held</th>" in page
    assert f"<bdi>{shown}</bdi> paused</th>" in page
    assert "charged twice" in page
    assert HOSTILE not in page


@pytest.mark.django_db
def test_the_dashboard_says_that_a_replay_would_now_succeed(busy_hour, admin_client):
    ConsumerProcess.objects.update(patterns="audit.#", started_at=DatabaseNow(-125))

    page = text(admin_client.get(DASHBOARD))

    assert "has wanted for 2 min. A replay would now succeed: manage.py" in page


@pytest.mark.django_db
def test_the_dashboard_asks_little(
    busy_hour, staff, django_assert_max_num_queries, settings
):
    client = staff(
        "view_outboxevent", "replay_event", "discard_event", "view_flag",
        "switch_off_flag", "view_flagchange",
    )  # fmt: skip

    with django_assert_max_num_queries(21):
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


class ReadElsewhere:
    """A database router: a replica, which has nothing yet."""

    def __init__(self, replica: str) -> None:
        self.replica = replica

    def db_for_read(self, model: type, **hints: object) -> str | None:
        return self.replica if model._meta.app_label == "strangler" else None

    def db_for_write(self, model: type, **hints: object) -> str:
        return "default"


@pytest.mark.django_db
def test_a_replica_that_lags_behind_is_no_dead_relay(sqlite_db, settings):
    RelayProcess.objects.create(name="web-1:1", length=100, expires_at=DatabaseNow(90))
    Lane.objects.create(number=0)
    settings.DATABASE_ROUTERS = [ReadElsewhere(sqlite_db)]

    assert dashboard.events().flow.ready


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
    assert "/off/" not in page
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
