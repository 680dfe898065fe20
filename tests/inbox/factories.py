"""Events in an outbox, and relays that call subscribers."""

from __future__ import annotations

from django.db import transaction

from django_strangler import publish_event
from django_strangler.events import Event
from django_strangler.models import OutboxEvent
from django_strangler.outbox.relay import Relay


def publish(
    type: str = "payment.completed", using: str = "default", **options
) -> Event:
    with transaction.atomic(using=using):
        return publish_event(type, {"paymentId": 1}, using=using, **options)


def relay(alias: str) -> Relay:
    return Relay(alias, steady=False)


def make_due(alias: str) -> None:
    OutboxEvent.objects.using(alias).update(retry_at=None)
