"""A busy hour: what the pages have to show."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_strangler import feature_flags
from django_strangler.clock import DatabaseNow
from django_strangler.models import (
    ConsumerProcess,
    Flag,
    InboxEntry,
    Lane,
    OutboxEvent,
    RelayProcess,
)

DASHBOARD = "/admin/strangler/"
LIST = "/admin/strangler/outboxevent/"
TURNED = "\u202e"  # Whatever comes after it, is shown from right to left.
HOSTILE = f"<script>alert('{TURNED}')</script>&amp;\"'"
TYPES = ("payment.completed", "payment.refunded", "user.registered")


def text(answer) -> str:
    """What a page says, that is there."""
    assert answer.status_code == 200
    return answer.content.decode()


def page_of(event: OutboxEvent) -> str:
    return reverse("admin:strangler_outboxevent_change", args=[event.pk])


def parked(
    number: int = 1, *, type: str = TYPES[0], reason: str = "unroutable", **values: Any
) -> list[OutboxEvent]:
    """So many parked events, one per second until now."""
    events = [
        OutboxEvent(
            type=type,
            body=f'{{"number": {each}}}',
            attempts=1,
            published_at=DatabaseNow(each - number - 60),
            parked_at=DatabaseNow(each - number),
            parked_reason=reason,
            **{"last_error": "No queue is bound for this type.", **values},
        )
        for each in range(number)
    ]
    return OutboxEvent.objects.bulk_create(events)


def parked_now() -> int:
    return OutboxEvent.objects.parked().count()


@pytest.fixture
def busy_hour(db: None) -> None:
    """An hour in which the broker was away for ten minutes, and what it left."""
    now, events = timezone.now(), []
    for minute in range(60, 0, -1):
        count = round(40 + 18 * math.sin(minute / 9) + minute % 7)
        for each in range(count):
            at = now - timedelta(minutes=minute) + timedelta(seconds=60 * each / count)
            confirmed = at + timedelta(milliseconds=40)
            if 20 < minute <= 30:
                back = now - timedelta(minutes=20)
                confirmed = back + timedelta(seconds=5 * (30 - minute))
            events.append(
                OutboxEvent(
                    type=TYPES[each % 3],
                    key=f"payments.payment:{each}",
                    body="{}",
                    published_at=at,
                    confirmed_at=min(confirmed, now),
                )
            )
    OutboxEvent.objects.bulk_create(events, batch_size=500)
    pending = [OutboxEvent(type=TYPES[0], body="{}") for _ in range(12)]
    OutboxEvent.objects.bulk_create(pending)
    parked(31, type="audit.written")
    parked(4, type="payment.refunded", reason="rejected", last_error="too large")
    OutboxEvent.objects.parked().update(parked_at=DatabaseNow(-720))
    relays = [
        RelayProcess(name=name, length=60, expires_at=DatabaseNow(57))
        for name in ("payments-1:4021", "payments-2:3977")
    ]
    RelayProcess.objects.bulk_create(relays)
    Lane.objects.bulk_create(
        Lane(number=number, relay=relays[number % 2].token) for number in range(32)
    )
    ConsumerProcess.objects.create(
        name="payments-1:4100", queue="receipts", expires_at=DatabaseNow(25)
    )
    feature_flags.set_rollout("notifications-v2", 5, by="ada", why="first users")
    feature_flags.set_rollout("notifications-v2", 25, by="ada", why="all is well")
    feature_flags.set_rollout("payments-v2", 0, by="grace")
    feature_flags.include("payments-v2", 7, 8, by="grace", why="the team")


@pytest.fixture
def handled(db: None) -> OutboxEvent:
    """An event with a whole life behind it."""
    event = OutboxEvent.objects.create(
        type="payment.completed",
        key="payments.payment:42",
        lane=7,
        body='{"paymentId": 42, "amount": "12.50", "currency": "EUR"}',
        size=55,
        headers={
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "flag-notifications-v2": "on",
        },
        published_at=DatabaseNow(-300),
        confirmed_at=DatabaseNow(-240),
        attempts=2,
        last_error="the broker refused it: resource-limit-exceeded",
    )
    for subscriber in ("receipts", "ledger"):
        InboxEntry.objects.create(event_id=event.event_id, subscriber=subscriber)
    return event


@pytest.fixture
def staff(client: Client, db: None) -> Callable[..., Client]:
    """staff("view_flag"): a client of somebody who may only do that."""

    def log_in(*permissions: str) -> Client:
        user = get_user_model().objects.create_user("oncall", is_staff=True)
        user.user_permissions.set(
            Permission.objects.filter(
                content_type__app_label="strangler", codename__in=permissions
            )
        )
        client.force_login(user)
        return client

    return log_in


class RouteOutbox:
    """A database router: the app's tables live there, all others at home."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def db_for_read(self, model: type, **hints: object) -> str | None:
        return self.alias if model._meta.app_label == "strangler" else None

    db_for_write = db_for_read


@pytest.fixture
def route(settings: Any) -> Callable[[str], None]:
    """route(alias): what the app reads and writes, it reads and writes there."""

    def route(alias: str) -> None:
        settings.DATABASE_ROUTERS = [RouteOutbox(alias)]

    return route


@pytest.fixture
def hostile(db) -> OutboxEvent:
    """What may stand in a row, by somebody who means harm."""
    long = HOSTILE + "x" * 1024 * 1024
    event = OutboxEvent.objects.create(
        type="payment.completed",
        key=HOSTILE,
        body=json.dumps({HOSTILE: long}),
        headers={"tenant": HOSTILE, "other": "y" * 16_000},
        correlation_id=HOSTILE,
        last_error=(HOSTILE + "z" * 2000)[:2000],
        attempts=1,
        parked_at=DatabaseNow(),
        parked_reason="<b>&\u202eb"[:32],
    )
    parked(1, type=HOSTILE, reason="<i>\u202e", last_error=HOSTILE)
    InboxEntry.objects.create(event_id=event.event_id, subscriber=HOSTILE)
    RelayProcess.objects.create(name=HOSTILE, length=9, expires_at=DatabaseNow(8))
    ConsumerProcess.objects.create(name=HOSTILE, queue=HOSTILE)
    feature_flags.set_rollout("payments-v2", 10, by=HOSTILE, why=long)
    return event


def pages(event: OutboxEvent) -> list[str]:
    other = OutboxEvent.objects.get(type=HOSTILE)
    group = reverse("admin:strangler_outboxevent_replay")
    return [
        DASHBOARD,
        page_of(event),
        page_of(other),
        f"{group}?event={other.pk}",
        f"{group}?reason=%3Ci%3E%E2%80%AE&type={'%3C'}script%3E",
        f"{group}?event={event.pk}",
        LIST,
        reverse("admin:strangler_flag_off", args=[Flag.objects.get().pk]),
    ]
