"""The tasks for Django's own queues, which exist from Django 6.0 on."""

from __future__ import annotations

import pytest
from django.db import connections

from django_strangler.models import OutboxEvent
from tests.relay.factories import publish

pytest.importorskip("django.tasks", reason="Django 6.0 has brought them")


@pytest.fixture
def tasks(settings):
    settings.TASKS = {
        "default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}
    }
    settings.STRANGLER = {"BROKER_URL": "memory://"}
    from django_strangler import django_tasks

    return django_tasks


def test_a_worker_drains_the_outbox(sqlite_db, tasks):
    publish(sqlite_db, "a", "b")

    result = tasks.drain_outbox.enqueue(sqlite_db)

    assert result.errors == []
    assert result.return_value == 2
    assert not OutboxEvent.objects.using(sqlite_db).filter(confirmed_at=None).exists()
    assert not connections[sqlite_db].in_atomic_block


@pytest.mark.django_db
def test_a_worker_prunes(tasks):
    result = tasks.prune_outbox.enqueue()

    assert (result.errors, result.return_value) == ([], 0)
