"""The example's table."""

from __future__ import annotations

from django.db import models


class Thing(models.Model):
    """A row."""

    name = models.CharField(max_length=100)

    class Meta:
        app_label = "strangler_example"

    def __str__(self) -> str:
        return self.name
