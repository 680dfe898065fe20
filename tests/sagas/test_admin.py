"""Who may do what with a stuck saga."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission
from django.db import transaction
from django.urls import reverse
from users.models import User

from django_strangler.sagas import Saga, SagaRun, pivot, saga, start_saga, step
from django_strangler.sagas.models import SagaStep, States
from django_strangler.sagas.testing import SILENT, play

pytestmark = pytest.mark.django_db
NAME = "admin:strangler_sagas_sagarun"


@pytest.fixture
def stuck(registries):
    @saga("checkout")
    class Checkout(Saga):
        reserve = step("stock.reserve", undo="stock.release")
        charge = pivot("payment.charge", retries=0)

    with transaction.atomic():
        run = start_saga("checkout", correlation="<b>order</b>")
    SagaRun.objects.filter(pk=run.pk).update(step="charge", turn=1)
    run.refresh_from_db()
    return play(run, {"stock.reserve": SILENT})


@pytest.fixture
def staff(client):
    def log_in(*permissions):
        user = User.objects.create_user("ada", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return log_in


def test_it_is_found_and_escaped(stuck, staff):
    client = staff("retry_saga")

    assert stuck.state == States.STUCK
    for url in (
        reverse(f"{NAME}_changelist"),
        reverse(f"{NAME}_change", args=[stuck.pk]),
        reverse(f"{NAME}_retry", args=[stuck.pk]),
    ):
        page = client.get(url)
        assert page.status_code == 200
        assert b"<b>order" not in page.content


@pytest.mark.parametrize(
    ("verb", "permission", "state"),
    [
        ("retry", "retry_saga", States.FORWARD),
        ("complete", "resolve_saga", States.COMPLETED),
        ("undone", "resolve_saga", States.UNDONE),
    ],
)
def test_a_verb_wants_its_permission_and_leaves_a_line(
    stuck, staff, verb, permission, state
):
    client = staff(permission)

    client.post(reverse(f"{NAME}_{verb}", args=[stuck.pk]), {"why": "I have looked."})

    stuck.refresh_from_db()
    assert stuck.state == state
    line = SagaStep.objects.filter(run=stuck).last()
    assert (line.by, line.reason) == ("ada", "I have looked.")


@pytest.mark.parametrize("verb", ["retry", "skip", "complete", "undone"])
def test_without_the_permission_nothing_happens(stuck, staff, verb):
    client = staff("view_sagarun")
    url = reverse(f"{NAME}_{verb}", args=[stuck.pk])

    assert client.get(url).status_code == 403
    assert client.post(url, {"why": "x"}).status_code == 403
    stuck.refresh_from_db()
    assert stuck.state == States.STUCK


def test_a_verb_wants_a_reason(stuck, staff):
    client = staff("retry_saga")

    client.post(reverse(f"{NAME}_retry", args=[stuck.pk]), {"why": ""})

    stuck.refresh_from_db()
    assert stuck.state == States.STUCK
