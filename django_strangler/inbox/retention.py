"""Pruning: what was handled longer ago than INBOX_RETENTION is forgotten."""

from __future__ import annotations

from collections.abc import Iterator

from django_strangler.clock import DatabaseNow

from .handling import inbox_alias
from .models import InboxEntry

BATCH = 1000


def prune(*, older_than: float, batch: int = BATCH) -> Iterator[int]:
    """Delete old entries in small batches; yields how many after each."""
    rows = InboxEntry.objects.using(inbox_alias())
    old = rows.filter(handled_at__lt=DatabaseNow(-older_than)).order_by("handled_at")
    while ids := list(old.values_list("id", flat=True)[:batch]):
        yield rows.filter(id__in=sorted(ids)).delete()[0]
