"""Pruning: minutes are kept for days, and days for a year."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django_strangler.clock import DatabaseNow

from .models import EvidenceCount
from .reading import DAYS_KEPT, SLICES_KEPT
from .writing import database as evidence_database

BATCH = 1000


def prune(database: str | None = None, *, batch: int = BATCH) -> Iterator[int]:
    """Delete old counts in small batches; yields how many after each."""
    alias = evidence_database()
    if database not in (None, alias):
        return
    rows = EvidenceCount.objects.using(alias)
    days, slices = rows.filter(process=""), rows.exclude(process="")
    for kind, kept in ((slices, SLICES_KEPT), (days, DAYS_KEPT)):
        old = kind.filter(at__lt=DatabaseNow(-kept.total_seconds())).order_by("at")
        rest = old
        while found := list(rest.values_list("id", "at")[:batch]):
            yield rows.filter(id__in=sorted(id for id, _ in found)).delete()[0]
            if len(found) < batch:
                break
            # Not from the start again: it is full of what the last batches left dead.
            rest = old.filter(at__gte=found[-1][1] - timedelta(seconds=1))
