"""Events are written beside what they tell of: in two databases, once payments move."""

from django.db import connections

from django_strangler.models import OutboxEvent
from django_strangler.outbox.models import OutboxQuerySet


def events() -> list[OutboxQuerySet]:
    """The events of each database."""
    return [OutboxEvent.objects.using(alias) for alias in connections]


def pending() -> int:
    return sum(each.pending().count() for each in events())


def parked() -> int:
    return sum(each.parked().count() for each in events())
