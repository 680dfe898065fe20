"""What has been handled, and who consumes."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID, uuid4

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_strangler.clock import DatabaseNow


class InboxQuerySet(models.QuerySet["InboxEntry"]):
    """Verbs of the inbox."""

    def forget(self, events: Iterable[UUID]) -> int:
        """Let these events be handled a second time, deliberately."""
        return int(self.filter(event_id__in=list(events)).delete()[0])


class InboxEntry(models.Model):
    """One subscriber has handled one event: written in its effect's transaction."""

    id = models.BigAutoField(primary_key=True)
    event_id = models.UUIDField()
    subscriber = models.CharField(max_length=100)
    event_type = models.CharField(max_length=255, db_default="")
    # SHA-256 of the body; none of rows that an earlier release wrote.
    digest = models.BinaryField(null=True)
    handled_at = models.DateTimeField(db_default=DatabaseNow())

    objects = InboxQuerySet.as_manager()

    class Meta:
        app_label = "strangler"
        verbose_name = _("inbox entry")
        verbose_name_plural = _("inbox entries")
        constraints = [
            # The event first: that is how one event's entries are looked up as well.
            models.UniqueConstraint(
                fields=["event_id", "subscriber"], name="strangler_inbox_once"
            ),
        ]
        indexes = [models.Index(fields=["handled_at"], name="strangler_inbox_age")]

    def __str__(self) -> str:
        return f"{self.subscriber} {self.event_id}"


class ConsumerProcess(models.Model):
    """A process that takes deliveries from a queue; alive until ``expires_at``."""

    token = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    name = models.CharField(max_length=255)  # Host and process, for people.
    queue = models.CharField(max_length=255)
    patterns = models.TextField(db_default="")  # Its bindings, as far as is known.
    subscribers = models.TextField(db_default="")  # A line each: name and patterns.
    started_at = models.DateTimeField(db_default=DatabaseNow())
    expires_at = models.DateTimeField(db_default=DatabaseNow())

    class Meta:
        app_label = "strangler"
        verbose_name = _("consumer")

    def __str__(self) -> str:
        return f"{self.name} ({self.queue})"
