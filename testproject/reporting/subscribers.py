"""Figures that no longer need a look into everybody's tables."""

from django.db.models import F

from django_strangler import evidence, subscribe
from django_strangler.events import Event

from .models import Activity


@subscribe("payment.*", "user.*", name="activity")
def count_activity(event: Event) -> None:
    # Once per event, because the inbox row is in this transaction.
    activity, _ = Activity.objects.get_or_create(
        day=event.published_at.date(), type=event.type
    )
    Activity.objects.filter(pk=activity.pk).update(count=F("count") + 1)


@subscribe("mail.written", "mail.failed", name="service-tried")
def note_try(event: Event) -> None:
    """How the notifications service gets on: what a guard of its flag looks at."""
    evidence.note("service:notifications", ok=event.type == "mail.written")
