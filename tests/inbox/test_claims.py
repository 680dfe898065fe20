"""An event is 'already handled' only if this very event was handled."""

from __future__ import annotations

import logging
from uuid import uuid4

import pytest
from django.db import connections, transaction

from django_strangler import subscribe
from django_strangler.events import Event
from django_strangler.inbox import after_commit
from django_strangler.inbox.handling import AnotherContent, DatabaseGone, handle
from django_strangler.inbox.models import InboxEntry
from tests.inbox.databases import effect, effects, entries

BODY = b'{"amount": 100}'


def event(id=None, type="payment.completed"):
    return Event(type=type, payload={"amount": 100}, id=id or uuid4())


@pytest.fixture
def subscriber(any_db, routed, registry):
    db = routed(any_db)
    subscribe("#", name="ledger")(lambda event: effect(db))
    (found,) = registry.all()
    return found


def test_the_same_event_again_is_not_handled_again(any_db, subscriber):
    first = event()

    assert handle(subscriber, first, BODY)
    assert not handle(subscriber, first, BODY.decode())

    assert effects(any_db) == 1


@pytest.mark.parametrize(
    ("type", "body"),
    [("payment.completed", b'{"amount": 1}'), ("payment.refunded", BODY)],
)
def test_another_content_under_a_handled_id_is_told_apart(
    any_db, subscriber, type, body
):
    forged = event()
    handle(subscriber, forged, BODY)

    with pytest.raises(AnotherContent, match="ledger"):
        handle(subscriber, event(forged.id, type), body)

    assert effects(any_db) == 1
    assert entries(any_db) == {("ledger", forged.id)}


def test_rows_of_an_earlier_release_are_compared_by_type(any_db, subscriber):
    first = event()
    handle(subscriber, first, BODY)
    InboxEntry.objects.using(any_db).update(digest=None)

    assert not handle(subscriber, first, b"[]")
    with pytest.raises(AnotherContent):
        handle(subscriber, event(first.id, "payment.refunded"), BODY)


def test_a_sequence_behind_its_table_swallows_no_effect(
    postgresql_db, routed, registry
):
    """As after a logical replication or a restore of the data alone."""
    db = routed(postgresql_db)
    subscribe("#", name="ledger")(lambda event: effect(db))
    (subscriber,) = registry.all()
    for _ in range(3):
        handle(subscriber, event(), BODY)
    with connections[db].cursor() as cursor:
        cursor.execute(
            "SELECT setval(pg_get_serial_sequence('strangler_inboxentry', 'id'), 1)"
        )
    fourth = event()

    for _ in range(2):  # Each try takes one more id.
        with pytest.raises(DatabaseGone, match="sequence"):
            handle(subscriber, fourth, BODY)
    assert effects(db) == 3
    assert handle(subscriber, fourth, BODY)

    assert effects(db) == 4


def test_what_is_left_to_on_commit_is_warned_about_once(
    postgresql_db, routed, registry, caplog, monkeypatch
):
    db = routed(postgresql_db)
    monkeypatch.setattr(after_commit, "_warned", set())
    calls = []
    subscribe("#", name="mailer")(
        lambda event: transaction.on_commit(lambda: calls.append(event), using=db)
    )
    (subscriber,) = registry.all()

    with caplog.at_level(logging.WARNING):
        handle(subscriber, event())
        handle(subscriber, event())

    assert len(calls) == 2
    (record,) = [it for it in caplog.records if "on_commit" in it.message]
    assert "'mailer'" in record.message


def test_a_hook_that_fails_after_the_commit_is_said_and_the_event_is_handled(
    postgresql_db, routed, registry, caplog
):
    db = routed(postgresql_db)

    @subscribe("#", name="mailer")
    def mailer(event: Event) -> None:
        effect(db)
        transaction.on_commit(lambda: 1 / 0, using=db)

    (subscriber,) = registry.all()

    assert handle(subscriber, event())

    assert effects(db) == 1
    assert "is not tried again" in caplog.text


def test_publishing_in_a_subscriber_leaves_nothing_that_is_warned_about(
    postgresql_db, routed, registry, caplog, monkeypatch
):
    from django_strangler import publish_event

    db = routed(postgresql_db)
    monkeypatch.setattr(after_commit, "_warned", set())
    subscribe("#", name="chain")(lambda event: publish_event("a.b", {}, using=db))
    (subscriber,) = registry.all()

    handle(subscriber, event())

    assert "on_commit" not in caplog.text
