"""Pausing and resuming in the admin: one permission, asked first, written down."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.urls import reverse

from django_strangler.models import Pause
from django_strangler.outbox.pauses import pause

from .conftest import DASHBOARD, HOSTILE, text

pytestmark = pytest.mark.django_db

LIST = "/admin/strangler/pause/"
ADD = f"{LIST}add/"
TYPE = {"scope": "type", "name": "payment.completed", "why": "refunds"}


def resume_page(row: Pause) -> str:
    return reverse("admin:strangler_pause_resume", args=[row.pk])


def test_pausing_and_resuming_take_their_permission_and_no_other_will_do(client):
    row = pause(Pause.Scope.ALL, using="default")
    user = get_user_model().objects.create_user("oncall", is_staff=True)
    others = Permission.objects.exclude(
        content_type__app_label="strangler", codename="pause_relay"
    )
    user.user_permissions.set(others)
    client.force_login(user)

    for url in (ADD, resume_page(row)):
        assert client.get(url).status_code == 403
        assert client.post(url, TYPE).status_code == 403
    assert list(Pause.objects.filter(ended_at=None)) == [row]


def test_a_type_is_paused_resumed_after_a_question_and_both_are_written_down(staff):
    client = staff("pause_relay", "view_outboxevent")

    client.post(ADD, TYPE)

    row = Pause.objects.get()
    assert (row.scope, row.name, row.by, row.why) == (
        "type",
        "payment.completed",
        "oncall",
        "refunds",
    )
    page = resume_page(row)
    assert page in text(client.get(DASHBOARD))
    assert page in text(client.get(LIST))
    assert "Send the type payment.completed again?" in text(client.get(page))
    assert Pause.objects.filter(ended_at=None).exists()
    client.post(page)
    row.refresh_from_db()
    assert row.ended_at is not None
    assert row.ended_by == "oncall"
    assert LogEntry.objects.count() == 2
    assert client.post(page).status_code == 404
    assert page not in text(client.get(LIST))


@pytest.mark.parametrize(
    "given",
    [
        {"scope": "type", "name": "no type"},
        {"scope": "type", "name": ""},
        {"scope": "key", "name": ""},
        {"scope": "all", "name": "payment.completed"},
        {"scope": "other", "name": "x"},
    ],
)
def test_what_cannot_be_paused_is_said(staff, given):
    answer = staff("pause_relay").post(ADD, given)

    assert "errorlist" in text(answer)
    assert not Pause.objects.exists()


def test_what_is_paused_already_stays_one_pause(staff):
    client = staff("pause_relay")

    client.post(ADD, TYPE)
    client.post(ADD, TYPE)

    assert Pause.objects.count() == 1


def test_a_pause_cannot_be_changed_or_deleted(admin_client):
    row = pause(Pause.Scope.ALL, using="default")

    admin_client.post(f"{LIST}{row.pk}/change/", TYPE)
    admin_client.post(f"{LIST}{row.pk}/delete/", {"post": "yes"})

    row.refresh_from_db()
    assert (row.scope, row.ended_at) == ("all", None)


def test_a_hostile_name_is_shown_harmlessly(admin_client):
    row = pause(Pause.Scope.KEY, HOSTILE, why=HOSTILE, using="default")

    for url in (LIST, resume_page(row), DASHBOARD):
        assert "<script>alert" not in text(admin_client.get(url))
