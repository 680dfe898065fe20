"""The requests that came with a key, and what was answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from django.apps import apps
from django.db import models
from django.utils.translation import gettext_lazy as _

from django_strangler.clock import DatabaseNow

if TYPE_CHECKING:
    from typing_extensions import Self


class State(models.IntegerChoices):
    """Where a request is; in mode "transaction" nobody else ever sees STARTED."""

    STARTED = 1, _("started")
    FINISHED = 2, _("finished")
    UNKNOWN = 3, _("outcome unknown")


class IdempotentRequestQuerySet(models.QuerySet["AbstractIdempotentRequest"]):
    """Verbs of the table."""

    def unknown(self) -> Self:
        """Those whose effect is not known: marked so, or left by a dead process."""
        held = self.filter(locked_until__isnull=False)
        return held.filter(
            models.Q(state=State.UNKNOWN)
            | models.Q(state=State.STARTED, locked_until__lt=DatabaseNow())
        )

    def settle(self) -> int:
        """A person has found that they took effect: no view runs for them again."""
        return self.update(
            state=State.FINISHED,
            body_omitted=True,
            finished_at=DatabaseNow(),
            owner=None,
            locked_until=None,
        )

    def expired(self) -> Self:
        """Finished, and past the time for which the key is remembered."""
        return self.filter(state=State.FINISHED, expires_at__lt=DatabaseNow())


class AbstractIdempotentRequest(models.Model):
    """
    One key of one client, what it stands for, and the answer.

    Of the request there is only a digest: a card number does not get in here. A column
    that comes later is nullable or has a database default. An app whose tables move to
    another database has a model of its own, which moves along.
    """

    id = models.BigAutoField(primary_key=True)
    digest = models.CharField(max_length=64)  # Of the scope and the key.
    scope = models.CharField(max_length=255)  # Whose key it is, for people.
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    route = models.CharField(max_length=255, db_default="", default="")
    state = models.SmallIntegerField(choices=State.choices, default=State.STARTED)
    status = models.SmallIntegerField(null=True)
    headers = models.JSONField(null=True)
    body = models.BinaryField(null=True)
    body_omitted = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(default=DatabaseNow)
    finished_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()
    # In mode "steps" only, until the request is finished.
    owner = models.UUIDField(null=True)
    locked_until = models.DateTimeField(null=True)
    point = models.CharField(max_length=50, null=True)  # noqa: DJ001  None: no step yet.

    objects = IdempotentRequestQuerySet.as_manager()

    class Meta:
        abstract = True
        # Not unique=True: PostgreSQL would get a second index, for LIKE.
        constraints = [
            models.UniqueConstraint(fields=["digest"], name="%(class)s_once"),
        ]
        indexes = [models.Index(fields=["expires_at"], name="%(class)s_age")]

    def __str__(self) -> str:
        return f"{self.key} ({self.scope})"


class IdempotentRequest(AbstractIdempotentRequest):
    """Those of all views that name no model."""

    class Meta:
        app_label = "strangler_http_idempotency"
        verbose_name = _("idempotent request")
        verbose_name_plural = _("idempotent requests")
        permissions = [
            ("resolve_idempotentrequest", "Can resolve requests of unknown outcome"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["digest"], name="strangler_idempotency_once"
            ),
        ]
        indexes = [
            models.Index(fields=["expires_at"], name="strangler_idempotency_age"),
            models.Index(fields=["locked_until"], name="strangler_idempotency_open"),
        ]


def kept_in() -> Iterator[type[AbstractIdempotentRequest]]:
    """The models that hold keys: ours, and those of apps that have their own."""
    for model in apps.get_models():
        if issubclass(model, AbstractIdempotentRequest):
            yield model
