"""What experiments have shown: few rows, whatever the traffic."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils import timezone

from django_strangler.printable import how_many


class ExperimentTotal(models.Model):
    """One candidate of one experiment: how often it ran, and what came out."""

    experiment = models.CharField(max_length=80)
    candidate = models.CharField(max_length=80)
    runs = models.BigIntegerField(default=0)
    mismatches = models.BigIntegerField(default=0)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        app_label = "strangler_experiments"
        ordering = ["experiment", "candidate"]
        verbose_name = "experiment"
        constraints = [
            models.UniqueConstraint(
                fields=["experiment", "candidate"],
                name="strangler_experiments_total_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.experiment}: {self.candidate}"


def differed(mismatches: int, runs: int) -> str:
    """As the command and the board have it."""
    return f"differed in {mismatches:,} of {how_many(runs, 'run')}"


class Mismatch(models.Model):
    """One way in which a candidate differs, with a few samples."""

    # Of experiment, candidate, kind and path, which are too long for one index.
    digest = models.CharField(max_length=64, unique=True)
    experiment = models.CharField(max_length=80, db_index=True)
    candidate = models.CharField(max_length=80)
    kind = models.CharField(max_length=12)
    path = models.CharField(max_length=300)
    count = models.BigIntegerField(default=0)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    first_release = models.CharField(max_length=255, blank=True)
    last_release = models.CharField(max_length=255, blank=True)
    samples = models.JSONField(default=list)
    known_until = models.DateTimeField(null=True, blank=True)
    known_why = models.CharField(max_length=500, blank=True)
    known_by = models.CharField(max_length=255, blank=True)

    class Meta:
        app_label = "strangler_experiments"
        ordering = ["experiment", "-last_at"]
        verbose_name_plural = "mismatches"
        permissions = [("mark_mismatch", "Can mark a mismatch as known")]

    def __str__(self) -> str:
        return (
            f"{self.experiment}: {self.candidate} differs in {self.path} ({self.kind})"
        )

    @property
    def is_known(self) -> bool:
        """Whether a person has said that it is expected, and until later than now."""
        return self.known_until is not None and self.known_until > timezone.now()

    def mark_known(self, *, why: str, until: Any, by: str) -> None:
        """From now on, and until then, it does not count as a failure."""
        self.known_why, self.known_until, self.known_by = why, until, by
        self.save(update_fields=["known_why", "known_until", "known_by"])
