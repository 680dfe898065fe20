"""The test helper passes good views, and finds bad ones."""

from __future__ import annotations

import itertools

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import path
from users.models import User

from django_strangler import publish_event
from django_strangler.http_idempotency import idempotent
from django_strangler.http_idempotency.testing import assert_idempotent
from django_strangler.models import OutboxEvent

numbers = itertools.count()


def bare(request):
    publish_event("thing.done", {})
    return HttpResponse(str(next(numbers)), status=201)


urlpatterns = [
    path("good/", idempotent(bare)),
    path("atomic/", idempotent(bare)),
    path("bad/", idempotent(fingerprint=lambda request: b"")(bare)),
    path("bare/", bare),
    path("refusing/", idempotent(lambda request: HttpResponse(status=400))),
]


@pytest.fixture
def client(settings, request) -> Client:
    settings.ROOT_URLCONF = __name__
    request.getfixturevalue("_django_db_helper")
    client = Client()
    client.force_login(User.objects.create_user("ada"))
    return client


@pytest.mark.django_db(transaction=True)
def test_it_passes_a_good_view(client):
    response = assert_idempotent(
        client.post, "/good/", {"a": 1}, effect=OutboxEvent.objects.count
    )

    assert response.status_code == 201
    assert OutboxEvent.objects.count() == 1


@pytest.mark.django_db
def test_it_works_in_a_testcase_as_far_as_it_can(client):
    assert_idempotent(client.post, "/good/", effect=OutboxEvent.objects.count)

    assert OutboxEvent.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_it_finds_a_view_without_keys(client, settings):
    settings.STRANGLER = {"REQUIRE_TRANSACTION": False}

    with pytest.raises(AssertionError):
        assert_idempotent(client.post, "/bare/", effect=OutboxEvent.objects.count)


@pytest.mark.django_db(transaction=True)
def test_it_finds_a_view_that_does_nothing(client):
    with pytest.raises(AssertionError, match="Nothing was done"):
        assert_idempotent(client.post, "/refusing/")


@pytest.mark.django_db(transaction=True)
def test_it_finds_an_effect_outside_of_the_transaction(client):
    done = []
    urlpatterns.append(
        path("outside/", idempotent(lambda request: HttpResponse(done.append(1))))
    )
    try:
        with pytest.raises(AssertionError, match="died before the commit"):
            assert_idempotent(client.post, "/outside/", effect=lambda: len(done))
    finally:
        urlpatterns.pop()
