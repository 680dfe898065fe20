from django.db import models
from monolith.models import Created


class DailySummary(Created):
    day = models.DateField(unique=True)
    signups = models.PositiveIntegerField(default=0)
    payments = models.PositiveIntegerField(default=0)
    emails = models.PositiveIntegerField(default=0)
    totals = models.JSONField(default=dict)  # Per currency, as text: {"EUR": "9.90"}.
    refunds = models.JSONField(default=dict)
    stale = models.BooleanField(default=False)  # Something of that day changed later.

    class Meta:
        verbose_name_plural = "daily summaries"

    def __str__(self) -> str:
        return self.day.isoformat()


class Activity(models.Model):
    """How many events of a type there were on a day."""

    day = models.DateField()
    type = models.CharField(max_length=255)
    count = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name_plural = "activity"
        constraints = (
            models.UniqueConstraint(fields=("day", "type"), name="activity_once_a_day"),
        )

    def __str__(self) -> str:
        return f"{self.count} {self.type} on {self.day}"
