"""Health over HTTP: true, quick, and silent to strangers."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import OperationalError, connections, transaction
from django.urls import reverse

from django_strangler.announcing import Announcer
from django_strangler.models import Lane
from django_strangler.monitoring import health, recent
from tests.monitoring.factories import add, add_relay

pytestmark = pytest.mark.django_db

URL, LIVE = "/strangler/health/", "/strangler/health/live/"


@pytest.fixture(autouse=True)
def no_trouble(monkeypatch):
    monkeypatch.setattr(health, "_trouble", Announcer(health.logger))


@pytest.fixture
def broken(monkeypatch):
    def fail(*args, **options):
        raise OperationalError("no route to db.internal")

    monkeypatch.setattr(recent, "look", fail)


def test_it_is_ready_while_events_flow(client):
    add_relay("default")

    answer = client.get(URL)

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert "no-store" in answer["Cache-Control"]


def test_strangers_hear_that_it_is_not_ready_and_nothing_else(client):
    add_relay("default")
    add("default", published=7200)

    answer = client.get(URL)

    assert (answer.status_code, answer.json()) == (503, {"status": "unhealthy"})


def test_staff_who_may_see_events_hear_why(client):
    user = get_user_model().objects.create_user("ann", is_staff=True)
    client.force_login(user)
    assert set(client.get(URL).json()) == {"status"}

    user.user_permissions.add(Permission.objects.get(codename="view_outboxevent"))

    found = client.get(URL).json()
    assert found["status"] == "unhealthy"
    assert found["reasons"] == [
        "No relay was ever seen. Start one: manage.py drain_outbox"
    ]


def test_liveness_asks_nobody(client, django_assert_num_queries, broken):
    with django_assert_num_queries(0):
        answer = client.get(LIVE)

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_database_that_is_away_is_unhealthy_and_said_once(client, broken, caplog):
    for _ in range(3):
        answer = client.get(URL)

    assert (answer.status_code, answer.json()) == (503, {"status": "unhealthy"})
    assert [record.name for record in caplog.records].count(
        "django_strangler.monitoring"
    ) == 1


def test_it_answers_with_atomic_requests_and_a_dead_database(
    client, settings, broken, django_assert_num_queries
):
    connections["default"].settings_dict["ATOMIC_REQUESTS"] = True
    try:
        assert client.get(URL).status_code == 503
        with django_assert_num_queries(0):  # Not even a SAVEPOINT.
            assert client.get(LIVE).status_code == 200
    finally:
        connections["default"].settings_dict["ATOMIC_REQUESTS"] = False
    for view in (health.ready, health.live):
        assert view._non_atomic_requests >= set(settings.DATABASES)


def test_a_flood_of_questions_is_one_look(
    client, django_assert_num_queries, monkeypatch
):
    monkeypatch.setattr(health, "LOOK_EVERY", 600.0)  # However long the flood takes.
    client.get(URL)

    with django_assert_num_queries(0):
        for _ in range(20):
            client.get(URL)


@pytest.mark.parametrize("method", ["post", "put", "delete"])
@pytest.mark.parametrize("url", [URL, LIVE])
def test_only_reading_is_allowed(client, method, url):
    assert getattr(client, method)(url).status_code == 405


def test_head_has_the_status_alone(client):
    answer = client.head(URL)

    assert (answer.status_code, answer.content) == (503, b"")


def test_looking_breaks_no_transaction(client):
    with transaction.atomic():
        client.get(URL)
        assert Lane.objects.count() == 0


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["health", "live"])
def test_a_project_that_wants_a_login_for_everything_is_no_302(client, settings, name):
    # A probe takes a redirect for an answer that is well.
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]

    answer = client.get(reverse(f"strangler:{name}"))

    assert answer.status_code in (200, 503)
    assert answer["Content-Type"] == "application/json"
