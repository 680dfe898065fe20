"""A delayed event can be taken back, until it is due."""

from __future__ import annotations

import pytest
from django.db import transaction

from django_strangler import cancel_event, publish_event
from django_strangler.clock import DatabaseNow
from django_strangler.exceptions import InvalidEvent
from django_strangler.models import IdempotencyKey, OutboxEvent


def publish(alias, *, delay=3600, **options):
    with transaction.atomic(using=alias):
        return publish_event("a.b", 1, using=alias, delay=delay, **options)


def rows(alias):
    return OutboxEvent.objects.using(alias)


def test_a_delayed_event_is_cancelled_by_its_id(any_db_rolled_back):
    alias = any_db_rolled_back
    event, other = publish(alias), publish(alias)
    assert [row.event_id for row in rows(alias).delayed().order_by("id")] == [
        event.id,
        other.id,
    ]

    assert cancel_event(event.id, using=alias)
    assert not cancel_event(str(event.id), using=alias)

    assert rows(alias).get().event_id == other.id


def test_a_delayed_event_is_cancelled_by_its_key_which_is_free_again(
    any_db_rolled_back,
):
    alias = any_db_rolled_back
    first = publish(alias, idempotency_key="reminder-7")

    assert cancel_event(idempotency_key="reminder-7", using=alias)

    assert not IdempotencyKey.objects.using(alias).exists()
    second = publish(alias, idempotency_key="reminder-7", delay=60)
    assert second.id != first.id
    assert rows(alias).get().event_id == second.id


def test_a_cancellation_that_rolls_back_has_not_happened(any_db_rolled_back):
    alias = any_db_rolled_back
    event = publish(alias)

    with transaction.atomic(using=alias):
        cancel_event(event.id, using=alias)
        transaction.set_rollback(True, using=alias)

    assert rows(alias).delayed().count() == 1


@pytest.mark.parametrize(
    "change",
    [
        {"available_at": None},
        {"available_at": DatabaseNow(-1)},
        {"confirmed_at": DatabaseNow()},
        {"parked_at": DatabaseNow()},
    ],
)
def test_what_is_due_or_gone_cannot_be_cancelled(any_db_rolled_back, change):
    alias = any_db_rolled_back
    event = publish(alias, idempotency_key="k")
    rows(alias).update(**change)

    assert not cancel_event(event.id, using=alias)
    assert not cancel_event(idempotency_key="k", using=alias)

    assert rows(alias).count() == 1


@pytest.mark.parametrize(
    ("args", "options"),
    [
        ((), {}),
        (("no id",), {}),
        ((7,), {}),
        ((), {"idempotency_key": ""}),
        (("0197b1a4-3c00-7000-8000-000000000001",), {"idempotency_key": "k"}),
    ],
)
def test_it_takes_one_usable_name(args, options):
    with pytest.raises(InvalidEvent):
        cancel_event(*args, using="default", **options)
