"""Pruning: confirmed rows that are older than RETENTION go, in small batches."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.db import connections

from django_strangler.clock import DatabaseNow

from .marking import Marks
from .models import OutboxEvent

BATCH = 1000


def prune(alias: str, *, older_than: float, batch: int = BATCH) -> Iterator[int]:
    """
    Delete confirmed rows, and nothing else; yields how many after each batch.

    Each batch is a statement of its own and deletes by primary key what a walk along
    the index has found: no lock is held for long and no publisher waits.
    """
    connection = connections[alias]
    marks = Marks(connection)
    marks.prepare()
    try:
        yield from _prune(marks, older_than, batch)
    finally:
        if not connection.in_atomic_block:
            connection.close()  # It was set up for this.


def prune_parked(alias: str, *, older_than: float, batch: int = BATCH) -> Iterator[int]:
    """Delete what was parked for so long, though nobody has it; yields as above."""
    old = (
        OutboxEvent.objects.using(alias)
        .parked()
        .filter(parked_at__lt=DatabaseNow(-older_than))
    )
    while rows := list(old.values_list("id", flat=True)[:batch]):
        # Asked again, for a row may have been replayed since.
        yield old.filter(id__in=rows).delete()[0]


def _prune(marks: Marks, older_than: float, batch: int) -> Iterator[int]:
    found = marks.old(older_than, batch)
    while found:
        # Asked again, for a row may have been replayed since.
        yield marks.prune([row for row, _ in found], older_than)
        if len(found) < batch:
            return
        # Not from the start again: it is full of what the last batches left dead. A
        # little before the last, because one mark gives many rows the same time.
        found = marks.old(older_than, batch, since=found[-1][1] - timedelta(seconds=1))
