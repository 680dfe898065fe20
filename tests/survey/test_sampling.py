"""Observing a share of the requests in production."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from django.test import Client

from django_strangler import evidence
from django_strangler.survey import Kind, sampling
from django_strangler.survey.couplings import Coupling

pytestmark = pytest.mark.django_db


@pytest.fixture
def sample(settings) -> Iterator[None]:
    settings.STRANGLER = {**settings.STRANGLER, "SURVEY": {"SAMPLE": 1.0}}
    sampling.start()
    yield
    sampling.stop()


def test_what_a_sampled_request_ties_is_noted_as_evidence(sample, client: Client):
    signed_up = client.post(
        "/users/sign-up/",
        {"email": "ada@example.com", "password": "a long enough word"},
        content_type="application/json",
    )
    assert signed_up.status_code == 201
    evidence.flush()

    assert (
        Coupling(
            "users",
            "notifications",
            Kind.WRITE,
            "users/signals.py",
            "notifications_notificationpreference",
            18,
        )
        in sampling.sampled()
    )


def test_what_is_not_sampled_is_not_looked_at(sample, client: Client, settings):
    settings.STRANGLER = {**settings.STRANGLER, "SURVEY": {"SAMPLE": 0.0}}
    client.post(
        "/users/sign-up/",
        {"email": "ada@example.com", "password": "a long enough word"},
        content_type="application/json",
    )
    evidence.flush()

    assert sampling.sampled() == set()


def test_it_is_off_by_default():
    from django_strangler.survey.observing import Observer

    assert not any(isinstance(e, Observer) for e in connection.execute_wrappers)


def test_what_is_too_long_for_evidence_is_left_out(db):
    long = Coupling("a", "b", Kind.JOIN, "a/b.py", "x" * 300, 1)
    evidence.note(sampling._source(long), side="legacy")
    evidence.flush()

    assert sampling.sampled() == set()
