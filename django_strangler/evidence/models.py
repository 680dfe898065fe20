"""What was seen, per source and side: by the slice for days, by the day for a year."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from .counts import MAX_SOURCE


class EvidenceCount(models.Model):
    """
    A slice of about a minute in one process, or a whole day in all of them.

    Each process writes rows of its own, over and over while a slice grows: processes do
    not wait for one another, and writing twice counts once. ``process`` is empty for a
    day, to which everybody adds; its ``slice`` is the number of days since 1970.
    """

    process = models.CharField(max_length=32, blank=True)
    slice = models.BigIntegerField()
    source = models.CharField(max_length=MAX_SOURCE)
    side = models.CharField(max_length=6)
    # A hash of both: to a database's collation, look-alikes may be equal.
    pair = models.CharField(max_length=32)
    at = models.DateTimeField(db_index=True)  # Its beginning, by the database's clock.
    written_at = models.DateTimeField()
    checked = models.BigIntegerField()
    failed = models.BigIntegerField()
    buckets = models.JSONField(default=dict)  # Bucket: count. Empty for a day.
    # Ages in seconds, at the time of writing.
    success = models.FloatField(null=True)  # Of the last success.
    failures = models.JSONField(default=list)  # Of each failure after it; at most 20.

    class Meta:
        app_label = "strangler"
        verbose_name = _("evidence")
        verbose_name_plural = _("evidence")
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["process", "slice", "pair"], name="strangler_evidence_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.source} ({self.side})"
