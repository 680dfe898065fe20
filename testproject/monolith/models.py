"""Columns that tables of every app have."""

from django.db import models
from django.utils import timezone


class Created(models.Model):
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        abstract = True
