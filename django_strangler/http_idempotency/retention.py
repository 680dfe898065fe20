"""Pruning: finished requests are forgotten once their time is over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.db import router

from .models import AbstractIdempotentRequest, IdempotentRequest, kept_in

BATCH = 1000


def prune(database: str | None = None, *, batch: int = BATCH) -> Iterator[int]:
    """
    Forget expired keys in small batches; yields how many after each.

    One that is started, or whose outcome is unknown, stays until a person has looked.
    """
    for model in kept_in():
        if model is IdempotentRequest:
            alias = database or str(router.db_for_write(model))
        else:
            # Perhaps they are on a move, and nobody may ask where to write.
            alias = str(router.db_for_read(model))
        if database in (None, alias):
            yield from _prune(model, alias, batch)


def _prune(
    model: type[AbstractIdempotentRequest], alias: str, batch: int
) -> Iterator[int]:
    rows = model.objects.using(alias)
    rest = old = rows.expired().order_by("expires_at")
    while found := list(rest.values_list("id", "expires_at")[:batch]):
        # Sorted, so that two of these never wait for each other.
        yield rows.filter(id__in=sorted(id for id, _ in found)).delete()[0]
        if len(found) < batch:
            return
        # Not from the start again: it is full of what the last batches left dead.
        rest = old.filter(expires_at__gte=found[-1][1] - timedelta(seconds=1))
