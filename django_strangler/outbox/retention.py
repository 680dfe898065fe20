"""Pruning: confirmed rows that are older than RETENTION go, in small batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import connections

from django_strangler.clock import DatabaseNow

from .models import OutboxEvent, OutboxQuerySet
from .store import Store

BATCH = 1000


def prune(
    alias: str = "default", *, older_than: float, batch: int = BATCH
) -> Iterator[int]:
    """
    Delete confirmed rows, and nothing else; yields how many after each batch.

    Each batch is a statement of its own and deletes by primary key what a walk along
    the index has found: no lock is held for long and no publisher waits.
    """
    connection = connections[alias]
    store = Store(connection)
    store.prepare()
    try:
        yield from _prune(store, alias, older_than, batch)
    finally:
        if not connection.in_atomic_block:
            connection.close()  # It was set up for this.


def _prune(store: Store, alias: str, older_than: float, batch: int) -> Iterator[int]:
    old = OutboxEvent.objects.using(alias).filter(
        confirmed_at__lt=DatabaseNow(-older_than)
    )
    old = old.order_by("confirmed_at", "parked_at", "available_at", "id")
    found = _page(old, batch)
    while found:
        # Asked again, for a row may have been replayed since.
        yield store.prune([row for row, _ in found], older_than)
        if len(found) < batch:
            return
        # Not from the start again: it is full of what the last batches left dead. From
        # a full second, which SQLite's texts compare alike with and without fractions.
        second = found[-1][1].replace(microsecond=0)
        found = _page(old.filter(confirmed_at__gte=second), batch)


def _page(rows: OutboxQuerySet, batch: int) -> list[tuple[int, Any]]:
    return list(rows.values_list("id", "confirmed_at")[:batch])
