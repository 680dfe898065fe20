"""Mismatches in the admin: who sees them, and who may mark them as known."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone
from users.models import User

from django_strangler.experiments import experiment
from django_strangler.experiments.models import Mismatch
from django_strangler.experiments.recording import recorder

pytestmark = pytest.mark.django_db


@pytest.fixture
def mismatch() -> Mismatch:
    @experiment("total", candidate=lambda: "<script>alert(1)</script>")
    def total() -> str:
        return "plain"

    total()
    recorder.write()
    return Mismatch.objects.get()


@pytest.fixture
def staff(client):
    """staff("view_mismatch") logs in somebody who may do that."""

    def log_in(*permissions: str) -> User:
        user = User.objects.create(username="eve", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return user

    return log_in


def page(mismatch: Mismatch) -> str:
    return reverse("admin:strangler_experiments_mismatch_change", args=[mismatch.pk])


def test_samples_are_escaped(client, staff, mismatch):
    staff("view_mismatch")

    html = client.get(page(mismatch)).content.decode()

    assert "&lt;script&gt;alert(1)" in html
    assert "<script>alert(1)" not in html


def test_without_a_permission_nothing_is_shown(client, staff, mismatch):
    staff()

    assert client.get(page(mismatch)).status_code == 403


def test_who_may_only_view_cannot_mark(client, staff, mismatch):
    staff("view_mismatch")

    client.post(page(mismatch), {"known_why": "fine", "known_until_0": "2099-01-01"})

    mismatch.refresh_from_db()
    assert not mismatch.is_known


def test_marking_keeps_who_did_it(client, staff, mismatch):
    staff("view_mismatch", "mark_mismatch")
    until = timezone.now() + timedelta(days=3)
    data = {
        "known_why": "rounds half up",
        "known_until_0": until.date().isoformat(),
        "known_until_1": "12:00:00",
    }

    answer = client.post(page(mismatch), data)

    mismatch.refresh_from_db()
    assert answer.status_code == 302
    assert mismatch.is_known
    assert (mismatch.known_by, mismatch.known_why) == ("eve", "rounds half up")


def test_a_day_without_a_reason_is_refused(client, staff, mismatch):
    staff("view_mismatch", "mark_mismatch")

    answer = client.post(
        page(mismatch),
        {"known_why": "", "known_until_0": "2099-01-01", "known_until_1": "12:00"},
    )

    assert "Say both why" in answer.content.decode()


def test_nobody_adds_one_by_hand(client, admin_client):
    assert (
        admin_client.get(
            reverse("admin:strangler_experiments_mismatch_add")
        ).status_code
        == 403
    )
