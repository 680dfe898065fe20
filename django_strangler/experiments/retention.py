"""Forgetting mismatches that were not seen again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.db import router
from django.utils import timezone

from .conf import settings
from .models import ExperimentTotal, Mismatch


def prune(database: str | None = None) -> Iterator[int]:
    """Delete what was last seen longer ago than ``RETENTION``; the tables are small."""
    alias = str(router.db_for_write(Mismatch))
    before = timezone.now() - timedelta(seconds=settings().retention)
    deleted, _ = Mismatch.objects.using(alias).filter(last_at__lt=before).delete()
    ExperimentTotal.objects.using(alias).filter(last_at__lt=before).delete()
    yield deleted
