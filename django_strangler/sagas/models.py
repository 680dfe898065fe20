"""Sagas under way and ended, their history, and what participants have done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_strangler.clock import DatabaseNow

from . import rules

if TYPE_CHECKING:
    from typing_extensions import Self


class States(models.IntegerChoices):
    """The states of ``rules``, for people."""

    FORWARD = rules.State.FORWARD.value, _("forward")
    UNDOING = rules.State.UNDOING.value, _("undoing")
    COMPLETED = rules.State.COMPLETED.value, _("completed")
    UNDONE = rules.State.UNDONE.value, _("undone")
    STUCK = rules.State.STUCK.value, _("stuck")


ENDED = (States.COMPLETED, States.UNDONE)


class SagaRunQuerySet(models.QuerySet["SagaRun"]):
    """Verbs of the table."""

    def stuck(self) -> Self:
        """Those that a person has to look at."""
        return self.filter(state=States.STUCK)

    def running(self) -> Self:
        """Those that have not ended; stuck ones included."""
        return self.exclude(state__in=ENDED)

    def silent(self, seconds: float) -> Self:
        """Those whose timeout was due so long ago, and has not come."""
        moving = self.filter(state__in=(States.FORWARD, States.UNDOING))
        return moving.filter(due_at__lt=DatabaseNow(-seconds))

    def ended_before(self, seconds: float) -> Self:
        """Those that ended longer ago."""
        return self.filter(state__in=ENDED, updated_at__lt=DatabaseNow(-seconds))


class SagaRun(models.Model):
    """One saga: where it is, and the ids that its steps work with."""

    id = models.BigAutoField(primary_key=True)
    saga_id = models.UUIDField(unique=True)
    name = models.CharField(max_length=100)
    version = models.SmallIntegerField()
    correlation = models.CharField(max_length=255)  # What it is about, as a key.
    digest = models.CharField(max_length=64)  # Of name and correlation, to the byte.
    state = models.SmallIntegerField(choices=States.choices)
    step = models.CharField(max_length=100, db_default="", default="", blank=True)
    turn = models.IntegerField()
    attempt = models.IntegerField(db_default=0, default=0)
    undoing = models.BooleanField(db_default=False, default=False)
    due_at = models.DateTimeField(null=True)
    data = models.JSONField(default=dict)
    reason = models.CharField(max_length=500, db_default="", default="")
    started_at = models.DateTimeField(default=DatabaseNow)
    updated_at = models.DateTimeField(default=DatabaseNow)

    objects = SagaRunQuerySet.as_manager()

    class Meta:
        app_label = "strangler_sagas"
        verbose_name = _("saga")
        verbose_name_plural = _("sagas")
        permissions = [
            ("retry_saga", "Can retry the step of a stuck saga"),
            ("skip_undo", "Can skip an undo of a stuck saga"),
            ("resolve_saga", "Can declare a stuck saga ended"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["digest"], name="strangler_saga_once"),
        ]
        indexes = [models.Index(fields=["state", "due_at"], name="strangler_saga_due")]

    def __str__(self) -> str:
        return f"{self.name} {self.correlation}"

    @property
    def place(self) -> rules.Place:
        """Where it is, as the rules see it."""
        return rules.Place(
            state=rules.State(self.state),
            step=self.step,
            turn=self.turn,
            attempt=self.attempt,
            undoing=self.undoing,
        )

    @property
    def has_ended(self) -> bool:
        """Whether it is completed or undone."""
        return self.state in ENDED


class SagaStep(models.Model):
    """What happened in one turn of a saga, or what a person did; never changed."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(SagaRun, on_delete=models.CASCADE, related_name="history")
    turn = models.IntegerField()
    step = models.CharField(max_length=100)
    undoing = models.BooleanField()
    outcome = models.CharField(max_length=20)
    reason = models.CharField(max_length=500, db_default="", default="")
    by = models.CharField(max_length=150, db_default="", default="")
    at = models.DateTimeField(default=DatabaseNow)

    class Meta:
        app_label = "strangler_sagas"
        verbose_name = _("saga's step")
        verbose_name_plural = _("saga's steps")
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.turn}: {self.step} {self.outcome}"


class SagaAct(models.Model):
    """
    What a participant has been asked to do, once: the barrier, and the answer.

    ``op`` is the same in every retry of a step, and in its undo.
    """

    id = models.BigAutoField(primary_key=True)
    op = models.UUIDField()
    participant = models.CharField(max_length=100)
    direction = models.CharField(max_length=4)
    outcome = models.CharField(max_length=20, db_default="", default="")
    body = models.JSONField(null=True)
    at = models.DateTimeField(default=DatabaseNow)

    class Meta:
        app_label = "strangler_sagas"
        verbose_name = _("act of a participant")
        verbose_name_plural = _("acts of participants")
        constraints = [
            models.UniqueConstraint(
                fields=["op", "participant", "direction"],
                name="strangler_saga_act_once",
            ),
        ]
        indexes = [models.Index(fields=["at"], name="strangler_saga_act_age")]

    def __str__(self) -> str:
        return f"{self.participant} {self.direction} {self.outcome}"

    if TYPE_CHECKING:
        objects: Any
