"""The outbox table, and who is draining it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import uuid4

from django.db import DEFAULT_DB_ALIAS, connections, models, router
from django.utils.translation import gettext_lazy as _

from django_strangler.clock import DatabaseNow, aware
from django_strangler.events import JSON, Event, new_id

from .indexes import KeyIndex

if TYPE_CHECKING:
    from typing_extensions import Self


# One index for the relay, the prune, the parked and the charts, and one by key; see
# docs/decisions/0002-one-index.md before adding another.
INDEX = ("confirmed_at", "parked_at", "available_at", "id")
INDEX_NAME = "strangler_outbox_queue"
KEY_INDEX_NAME = "strangler_outbox_key"


class OutboxQuerySet(models.QuerySet["OutboxEvent"]):
    """The states of a row, by the glossary's words."""

    def pending(self) -> Self:
        """Neither confirmed nor parked yet; delayed ones included."""
        return self.filter(confirmed_at=None, parked_at=None)

    def confirmed(self) -> Self:
        """The broker has them."""
        return self.filter(confirmed_at__isnull=False)

    def parked(self) -> Self:
        """Set aside, with a reason."""
        return self.filter(confirmed_at=None, parked_at__isnull=False)

    def delayed(self) -> Self:
        """Pending, and their time has not come: ``cancel_event`` takes one back."""
        return self.pending().filter(available_at__gt=DatabaseNow())


class OutboxEvent(models.Model):
    """
    One published event.

    A column that comes later is nullable or has a database default, so that the release
    before it can go on inserting while a deployment rolls.
    """

    id = models.BigAutoField(primary_key=True)  # The order of publishing.
    event_id = models.UUIDField(unique=True, default=new_id, editable=False)
    type = models.CharField(max_length=255)
    key = models.CharField(max_length=255, db_default="", default="", blank=True)
    lane = models.SmallIntegerField(db_default=0)
    body = models.TextField()  # JSON, encoded once.
    size = models.IntegerField(db_default=0)  # Of the body, in bytes.
    headers = models.JSONField(default=dict)
    correlation_id = models.CharField(max_length=255, db_default="", default="")
    published_at = models.DateTimeField(default=DatabaseNow)
    # Set for a delayed event only, which stands outside the order.
    available_at = models.DateTimeField(null=True, blank=True)
    attempts = models.IntegerField(db_default=0, default=0)  # Refusals of this event.
    retry_at = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=2000, db_default="", default="")
    confirmed_at = models.DateTimeField(null=True, blank=True)
    parked_at = models.DateTimeField(null=True, blank=True)
    parked_reason = models.CharField(max_length=32, db_default="", default="")

    objects = OutboxQuerySet.as_manager()

    class Meta:
        app_label = "strangler"
        verbose_name = _("event")
        verbose_name_plural = _("events")
        permissions = [
            ("view_payload", "Can view the payload of events"),
            ("replay_event", "Can replay events"),
            ("discard_event", "Can discard parked events"),
            ("cancel_event", "Can cancel delayed events"),
        ]
        indexes = [
            models.Index(fields=INDEX, name=INDEX_NAME),
            KeyIndex(fields=("key", "confirmed_at", "id"), name=KEY_INDEX_NAME),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"

    @property
    def payload(self) -> JSON:
        """The payload, decoded."""
        return json.loads(self.body)

    @property
    def state(self) -> str:
        """``pending``, ``confirmed`` or ``parked``."""
        if self.confirmed_at is not None:
            return "confirmed"
        return "pending" if self.parked_at is None else "parked"

    def as_event(self) -> Event:
        """The value that was published."""
        return Event(
            id=self.event_id,
            type=self.type,
            payload=self.payload,
            key=self.key,
            headers=self.headers,
            correlation_id=self.correlation_id,
            published_at=aware(
                self.published_at, connections[self._state.db or DEFAULT_DB_ALIAS]
            ),
        )


class IdempotencyKey(models.Model):
    """
    A key that was used, and the event that it stands for.

    Kept as long as an inbox remembers, also when the event's row is gone. A person who
    reads the table learns no key: they are hashed with the project's ``SECRET_KEY``.
    """

    digest = models.UUIDField(primary_key=True, editable=False)  # 122 bits of it.
    event_id = models.UUIDField(db_index=True)
    content = models.UUIDField()  # The same of type, key and payload.
    created_at = models.DateTimeField(db_default=DatabaseNow(), db_index=True)

    class Meta:
        app_label = "strangler"
        verbose_name = _("idempotency key")
        verbose_name_plural = _("idempotency keys")

    def __str__(self) -> str:
        return str(self.digest)


class HeldType(models.Model):
    """
    A type that the broker does not take now: no relay sends it, but for probes.

    A row for all relays: one of them that has an event of the type sends the next probe
    when its time has come.
    """

    digest = models.UUIDField(primary_key=True, editable=False)  # Of the type, exactly.
    type = models.CharField(max_length=255)
    cause = models.CharField(max_length=32)
    reason = models.CharField(max_length=2000, db_default="", default="")
    since = models.DateTimeField(default=DatabaseNow)
    tries = models.IntegerField(db_default=0, default=0)  # Probes that were not taken.
    probe_at = models.DateTimeField()  # Not before.
    # It was held for long enough as unroutable: what is returned is parked.
    parks = models.BooleanField(db_default=False, default=False)

    class Meta:
        verbose_name = _("held type")

    def __str__(self) -> str:
        return self.type


class Pause(models.Model):
    """What a person has told all relays not to send; the row stays as history."""

    class Scope(models.TextChoices):
        """What is paused."""

        TYPE = "type", _("a type")
        KEY = "key", _("a key")
        ALL = "all", _("everything")

    scope = models.CharField(max_length=8, choices=Scope)
    name = models.CharField(max_length=255, blank=True)  # Of the type, or the key.
    since = models.DateTimeField(default=DatabaseNow)
    by = models.CharField(max_length=255, blank=True)
    why = models.CharField(max_length=255, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by = models.CharField(max_length=255, blank=True)

    class Meta:
        verbose_name = _("pause")
        permissions = [("pause_relay", "Can pause and resume types and keys")]

    def __str__(self) -> str:
        return f"{self.scope} {self.name}".rstrip()


def outbox_alias() -> str:
    """The database of the outbox: where publishing writes unless it is told."""
    return str(router.db_for_write(OutboxEvent))


class RelayProcess(models.Model):
    """A relay that lives, or lived until ``expires_at``: its lease on its lanes."""

    token = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    name = models.CharField(max_length=255)  # Host and process, for people.
    # Long-running relays divide the lanes; the others take what nobody holds.
    steady = models.BooleanField(db_default=True, default=True)
    length = models.FloatField()  # Of the lease, in seconds.
    started_at = models.DateTimeField(default=DatabaseNow)
    expires_at = models.DateTimeField()

    class Meta:
        app_label = "strangler"
        verbose_name = _("relay")

    def __str__(self) -> str:
        return self.name


class Lane(models.Model):
    """Who drains this slice of the keys."""

    number = models.SmallIntegerField(primary_key=True)
    # No foreign key: a relay's row may go first, and a lane's holder is compared only.
    relay = models.UUIDField(null=True, blank=True)

    class Meta:
        app_label = "strangler"
        verbose_name = _("lane")

    def __str__(self) -> str:
        return str(self.number)
