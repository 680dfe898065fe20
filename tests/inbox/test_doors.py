"""Checks, pruning and replays, as far as the inbox is concerned."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core import mail
from django.core.management import call_command
from django.db import transaction
from django.test import override_settings

from django_strangler import publish_event, subscribe
from django_strangler.clock import DatabaseNow
from django_strangler.events import new_id
from django_strangler.inbox import retention
from django_strangler.inbox.checks import check_consumer, check_subscribers
from django_strangler.inbox.models import ConsumerProcess, InboxEntry
from django_strangler.models import OutboxEvent
from django_strangler.testing import drain

RABBITMQ = {"BROKER_URL": "amqp://guest:guest@127.0.0.1:5672/"}


@pytest.fixture
def subscriber(registry) -> list[object]:
    seen: list[object] = []
    subscribe("payment.*", name="receipts")(seen.append)
    return seen


@pytest.fixture
def no_tests_run(monkeypatch):
    """As in production: Django sets up a mailbox for tests only."""
    monkeypatch.delattr(mail, "outbox")


@pytest.mark.django_db
@override_settings(STRANGLER=RABBITMQ)
def test_the_database_of_a_test_run_never_saw_a_consumer(subscriber):
    assert check_consumer(None, databases=["default"]) == []


@pytest.mark.django_db
@pytest.mark.usefixtures("no_tests_run")
@override_settings(STRANGLER=RABBITMQ)
def test_subscribers_without_a_consumer_are_warned_of(subscriber):
    (warning,) = check_consumer(None, databases=["default"])

    assert warning.id == "strangler.W004"
    assert "receipts" in warning.msg
    assert "consume_events" in warning.hint


@pytest.mark.django_db
@pytest.mark.usefixtures("no_tests_run")
@override_settings(STRANGLER=RABBITMQ)
def test_a_consumer_that_was_seen_ends_the_warning(subscriber):
    ConsumerProcess.objects.create(name="host:1", queue="monolith")

    assert check_consumer(None, databases=["default"]) == []


@pytest.mark.django_db
@pytest.mark.usefixtures("no_tests_run")
@pytest.mark.parametrize(
    ("settings", "databases"),
    [({}, ["default"]), (RABBITMQ, None), (RABBITMQ, [])],
    ids=["local broker", "no database asked for", "no database"],
)
def test_no_consumer_is_missed_where_none_is_needed(subscriber, settings, databases):
    with override_settings(STRANGLER=settings):
        assert check_consumer(None, databases=databases) == []


def test_a_module_that_cannot_be_imported_is_warned_of(registry):
    registry.broken_modules["payments.subscribers"] = "ImportError: no x"

    (warning,) = check_subscribers(None)

    assert warning.id == "strangler.W003"
    assert "payments.subscribers cannot be imported: ImportError: no x" in warning.msg


def entry(alias: str, seconds_ago: float) -> None:
    InboxEntry.objects.using(alias).create(
        event_id=new_id(), subscriber="s", handled_at=DatabaseNow(-seconds_ago)
    )


def test_old_entries_are_pruned_in_batches_and_new_ones_stay(any_db, monkeypatch):
    monkeypatch.setattr(retention, "inbox_alias", lambda: any_db)
    for _ in range(5):
        entry(any_db, seconds_ago=100)
    entry(any_db, seconds_ago=10)

    batches = list(retention.prune(older_than=50, batch=2))

    assert batches == [2, 2, 1]
    assert InboxEntry.objects.using(any_db).count() == 1


@pytest.mark.django_db
def test_the_prune_command_prunes_the_inbox_too():
    entry("default", seconds_ago=91 * 86400)
    entry("default", seconds_ago=89 * 86400)
    out = StringIO()

    call_command("prune_outbox", stdout=out)

    assert "Handled events forgotten: 1" in out.getvalue()
    assert InboxEntry.objects.count() == 1


@pytest.fixture
def delivered(db, subscriber) -> list[object]:
    with transaction.atomic():
        publish_event("payment.completed", {})
    drain()
    assert len(subscriber) == 1
    return subscriber


def test_a_replay_says_that_handled_events_stay_handled(delivered):
    out = StringIO()

    call_command("replay_events", type="#", confirmed=True, ask=False, stdout=out)
    drain()

    assert "will not be called again" in out.getvalue()
    assert len(delivered) == 1
    assert OutboxEvent.objects.confirmed().count() == 1


def test_a_deliberate_second_run_is_offered(delivered):
    out = StringIO()

    call_command(
        "replay_events",
        type="#",
        confirmed=True,
        ask=False,
        handle_again=True,
        stdout=out,
    )
    drain()

    assert "AGAIN" in out.getvalue()
    assert len(delivered) == 2


def test_a_dry_run_does_nothing(delivered):
    call_command("replay_events", type="#", confirmed=True, dry_run=True)

    assert OutboxEvent.objects.confirmed().count() == 1
