"""Pruning: confirmed rows that are older than RETENTION go, in small batches."""

from __future__ import annotations

from collections.abc import Iterator

from django_strangler.clock import DatabaseNow

from .models import OutboxEvent

BATCH = 1000


def prune(
    alias: str = "default", *, older_than: float, batch: int = BATCH
) -> Iterator[int]:
    """
    Delete confirmed rows, and nothing else; yields how many after each batch.

    Each batch is a transaction of its own and deletes by primary key what a walk along
    the index has found: no lock is held for long and no publisher waits.
    """
    rows = OutboxEvent.objects.using(alias)
    old = rows.filter(confirmed_at__lt=DatabaseNow(-older_than)).order_by(
        "confirmed_at"
    )
    while True:
        ids = list(old.values_list("id", flat=True)[:batch])
        if not ids:
            return
        # Asked again, for a row may have been replayed since.
        deleted, _ = rows.filter(
            id__in=sorted(ids), confirmed_at__lt=DatabaseNow(-older_than)
        ).delete()
        yield deleted
        if len(ids) < batch:
            return
