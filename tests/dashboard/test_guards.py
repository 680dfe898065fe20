"""Guards and incidents in the admin: seen with the flags, resumed by who may."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from django_strangler import feature_flags
from django_strangler.evidence.statistics import Doubt, Ground
from django_strangler.feature_flags import guards
from django_strangler.models import Flag, FlagChange, Incident

from .conftest import DASHBOARD, HOSTILE, text

pytestmark = pytest.mark.django_db

FLAG, SOURCE = "payments-v2", "route:payments-api"
GUARDS, INCIDENTS = "/admin/strangler/guard/", "/admin/strangler/incident/"


def trip(action: str = "off", said: str = "20 failures in a row.") -> Incident:
    feature_flags.set_rollout(FLAG, 25, by="ada")
    guard = feature_flags.set_guard(FLAG, on=[SOURCE], action=action, limit=2)
    change = FlagChange.objects.first()
    doubt = Doubt(ground=Ground.BURST, source=SOURCE, text=said)
    incident = guards.trip(guard, doubt, change=change and change.pk)
    assert incident is not None
    return incident


def resume_page() -> str:
    return reverse("admin:strangler_flag_resume", args=[Flag.objects.get().pk])


def test_whoever_sees_flags_sees_guards_and_incidents_and_changes_nothing(staff):
    incident = trip()
    client = staff("view_flag")

    assert "limit 2" in text(client.get(GUARDS))
    assert "20 failures in a row." in text(client.get(INCIDENTS))
    assert "20 failures in a row." in text(client.get(DASHBOARD))
    for page in (f"{INCIDENTS}{incident.pk}/delete/", f"{GUARDS}add/", resume_page()):
        assert client.post(page, {"post": "yes", "why": "x"}).status_code == 403
    assert not Flag.objects.get().enabled


def test_others_see_nothing_of_them(staff):
    trip()
    client = staff("view_outboxevent")

    for page in (GUARDS, INCIDENTS):
        assert client.get(page).status_code == 403


def test_an_incident_is_resumed_after_a_question_with_a_reason(staff):
    incident = trip()
    client = staff("change_flag", "view_flag")

    assert resume_page() in text(client.get(INCIDENTS))
    flag = reverse("admin:strangler_flag_change", args=[Flag.objects.get().pk])
    assert "Resume…" in text(client.get(flag))
    assert "Resume payments-v2?" in text(client.get(resume_page()))
    assert not Flag.objects.get().enabled
    client.post(resume_page(), {"why": "mended"})

    incident.refresh_from_db()
    assert (incident.by, incident.why) == ("oncall", "mended")
    assert incident.resumed_at is not None
    assert Flag.objects.get().enabled
    assert "mended" in LogEntry.objects.get().change_message
    assert resume_page() not in text(client.get(INCIDENTS))
    assert "Resume…" not in text(client.get(flag))


def test_an_incident_that_a_change_has_ended_switches_nothing_on(admin_client):
    trip()
    feature_flags.enable(FLAG, by="ada")
    feature_flags.start_ramp(FLAG, "50@now", by="ada")
    feature_flags.hold_ramp(FLAG, by="ada")
    feature_flags.disable(FLAG, by="ada", why="for another reason")

    admin_client.post(resume_page(), {"why": "the ramp"})

    assert not Flag.objects.get().enabled


def test_an_incident_outlives_its_flag(admin_client):
    trip()
    Flag.objects.get().delete()

    assert "20 failures in a row." in text(admin_client.get(INCIDENTS))


def test_what_a_source_says_is_shown_harmlessly(admin_client):
    trip(said=HOSTILE)

    for page in (INCIDENTS, DASHBOARD):
        assert "<script>alert" not in text(admin_client.get(page))
