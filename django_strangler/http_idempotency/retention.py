"""Pruning: finished requests are forgotten once their time is over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.db import router

from .models import IdempotentRequest

BATCH = 1000


def prune(database: str | None = None, *, batch: int = BATCH) -> Iterator[int]:
    """
    Forget expired keys in small batches; yields how many after each.

    One that is started, or whose outcome is unknown, stays until a person has looked.
    """
    alias = database or str(router.db_for_write(IdempotentRequest))
    rows = IdempotentRequest.objects.using(alias)
    rest = old = rows.expired().order_by("expires_at")
    while found := list(rest.values_list("id", "expires_at")[:batch]):
        # Sorted, so that two of these never wait for each other.
        yield rows.filter(id__in=sorted(id for id, _ in found)).delete()[0]
        if len(found) < batch:
            return
        # Not from the start again: it is full of what the last batches left dead.
        rest = old.filter(expires_at__gte=found[-1][1] - timedelta(seconds=1))
