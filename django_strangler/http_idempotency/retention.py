"""Pruning: finished requests are forgotten once their time is over."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.db import router

from django_strangler.exceptions import StranglerError

from .models import AbstractIdempotentRequest, IdempotentRequest, kept_in

BATCH = 1000


def prune(database: str | None = None, *, batch: int = BATCH) -> Iterator[int]:
    """
    Forget expired keys in small batches; yields how many after each.

    One that is started, or whose outcome is unknown, stays until a person has looked.
    """
    for model in kept_in():
        is_ours = model is IdempotentRequest
        alias = database if database and is_ours else _home(model)
        if database in (None, alias):
            yield from _prune(model, alias, batch)


def _home(model: type[AbstractIdempotentRequest]) -> str:
    try:
        return str(router.db_for_write(model))
    except StranglerError:
        # They are on a move, and are written inside of moves.atomic only. It says where
        # the truth is; elsewhere that may be a replica.
        return str(router.db_for_read(model))


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
