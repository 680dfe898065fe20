"""Pruning: ended sagas, and what participants remember, go after RETENTION."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import router

from django_strangler.clock import DatabaseNow

from .conf import settings
from .models import SagaAct, SagaRun

BATCH = 500


def prune(database: str | None = None, *, batch: int = BATCH) -> Iterator[int]:
    """Delete in small batches; a saga that has not ended stays."""
    age = settings().retention
    runs = SagaRun.objects.using(database or router.db_for_write(SagaRun))
    acts = SagaAct.objects.using(database or router.db_for_write(SagaAct))
    for rows, old in (
        (runs, runs.ended_before(age)),
        (acts, acts.filter(at__lt=DatabaseNow(-2 * age))),
    ):
        while ids := sorted(old.values_list("id", flat=True)[:batch]):
            rows.filter(id__in=ids).delete()
            yield len(ids)
