"""
A move's tables. Gate, side and mark are in both databases, the others in the source's.

The first three belong to triggers and to SQL of one's own; the ORM only makes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_strangler.clock import DatabaseNow

if TYPE_CHECKING:
    from typing_extensions import Self

LABEL = "strangler_moves"


class Gate(models.Model):
    """Whether writers may write here. What every writing statement looks at."""

    move = models.CharField(max_length=40, primary_key=True)
    closed = models.BooleanField(default=True)
    mover = models.BooleanField(default=False)  # SQLite: the mover is writing now.

    class Meta:
        app_label = LABEL
        verbose_name = _("gate")
        verbose_name_plural = _("gates")

    def __str__(self) -> str:
        return f"{self.move}: {'closed' if self.closed else 'open'}"


class Side(models.Model):
    """
    What a mover locks in the destination, and compares.

    The side with the greater ``opened`` has the truth. ``epoch`` grows with whatever
    must end the work of those who have read it before.
    """

    move = models.CharField(max_length=40, primary_key=True)
    epoch = models.BigIntegerField(default=0)
    opened = models.BigIntegerField(default=0)

    class Meta:
        app_label = LABEL
        verbose_name = _("side")
        verbose_name_plural = _("sides")

    def __str__(self) -> str:
        return f"{self.move}: {self.epoch}"


class Mark(models.Model):
    """A note that a row changed; its key is a JSON array."""

    id = models.BigAutoField(primary_key=True)
    move = models.CharField(max_length=40)
    tab = models.CharField(max_length=100)
    key = models.TextField()
    at = models.DateTimeField(default=DatabaseNow)

    class Meta:
        app_label = LABEL
        verbose_name = _("mark")
        verbose_name_plural = _("marks")
        # Without it, the marks of one that stands still slow all others down.
        indexes = [models.Index(fields=["move", "id"], name="strangler_moves_of")]

    def __str__(self) -> str:
        return f"{self.move}: {self.tab} {self.key}"


class Stage(models.TextChoices):
    """How far a move is. Who has the truth, the sides themselves say."""

    COPYING = "copying", _("copying")
    FOLLOWING = "following", _("following")
    BACK = "following back", _("following back")
    FINISHED = "finished", _("finished")
    ABANDONED = "abandoned", _("abandoned")


STALE = 1.0  # Seconds: for how long processes know a stage by heart.
ON = (Stage.COPYING, Stage.FOLLOWING, Stage.BACK)


class MoveStateQuerySet(models.QuerySet["MoveState"]):
    """Verbs of the table."""

    def on(self) -> Self:
        """Those that a mover has to do with."""
        return self.filter(stage__in=ON)


class MoveState(models.Model):
    """A move's books."""

    name = models.CharField(max_length=40, primary_key=True)
    stage = models.CharField(max_length=20, choices=Stage.choices)
    goal = models.CharField(max_length=10, default="", blank=True)  # Of a switch.
    # By table: where copying is, how many rows are done, and of how many.
    progress = models.JSONField(default=dict)
    # The last whole comparison, and where the one in rotation is.
    verified_at = models.DateTimeField(null=True)
    verified_rows = models.BigIntegerField(default=0)
    validated = models.JSONField(default=dict)
    share = models.FloatField(null=True)  # By hand; None: as the settings say.
    started_at = models.DateTimeField(default=DatabaseNow)
    copied_at = models.DateTimeField(null=True)
    switched_at = models.DateTimeField(null=True)
    alerted_at = models.DateTimeField(null=True)

    objects = MoveStateQuerySet.as_manager()

    class Meta:
        app_label = LABEL
        verbose_name = _("move")
        verbose_name_plural = _("moves")

    def __str__(self) -> str:
        return f"{self.name}: {self.stage}"


class Mover(models.Model):
    """A process that follows a move or a capture, or one that switches: it is first."""

    id = models.BigAutoField(primary_key=True)
    token = models.UUIDField()
    name = models.CharField(max_length=255)
    move = models.CharField(max_length=40)
    switches = models.BooleanField(default=False)
    # Why it stands still, for doctor and page.
    trouble = models.CharField(max_length=300, default="", db_default="", blank=True)
    length = models.FloatField()
    started_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        app_label = LABEL
        verbose_name = _("mover")
        verbose_name_plural = _("movers")

    def __str__(self) -> str:
        return self.name


class Difference(models.Model):
    """A row that is not the same on both sides, and stays so."""

    id = models.BigAutoField(primary_key=True)
    move = models.CharField(max_length=40)
    tab = models.CharField(max_length=100)
    key = models.CharField(max_length=255)
    kind = models.CharField(max_length=10)  # differs, missing, extra
    fields = models.JSONField(default=list)  # Names, never values.
    cause = models.CharField(max_length=200, default="", blank=True)
    first_seen = models.DateTimeField(default=DatabaseNow)
    last_seen = models.DateTimeField(default=DatabaseNow)

    class Meta:
        app_label = LABEL
        verbose_name = _("difference")
        verbose_name_plural = _("differences")
        constraints = [
            models.UniqueConstraint(
                fields=["move", "tab", "key"], name="strangler_moves_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.tab} {self.key}: {self.kind}"


class Copied(models.Model):
    """Of a replica: how new its copy of a row is, also of one that is gone."""

    digest = models.UUIDField(primary_key=True, editable=False)  # Replica and key.
    replica = models.CharField(max_length=100)
    position = models.BigIntegerField()

    class Meta:
        app_label = LABEL
        verbose_name = _("copied row")
        verbose_name_plural = _("copied rows")

    def __str__(self) -> str:
        return f"{self.replica}: {self.position}"
