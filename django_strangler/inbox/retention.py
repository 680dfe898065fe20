"""Pruning: what was handled longer ago than INBOX_RETENTION is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django_strangler.clock import DatabaseNow

from .handling import inbox_alias
from .models import InboxEntry

BATCH = 1000


def prune(*, older_than: float, batch: int = BATCH) -> Iterator[int]:
    """Delete old entries in small batches; yields how many after each."""
    rows = InboxEntry.objects.using(inbox_alias())
    old = rows.filter(handled_at__lt=DatabaseNow(-older_than)).order_by("handled_at")
    rest = old
    while found := list(rest.values_list("id", "handled_at")[:batch]):
        yield rows.filter(id__in=sorted(id for id, _ in found)).delete()[0]
        if len(found) < batch:
            return
        # Not from the start again: it is full of what the last batches left dead. A
        # little before the last, because databases write times in several ways.
        rest = old.filter(handled_at__gte=found[-1][1] - timedelta(seconds=1))
