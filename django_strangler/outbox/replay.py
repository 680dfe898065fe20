"""Replaying: an event that was confirmed or parked is sent again, on purpose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import models

from django_strangler.clock import DatabaseNow

from .models import OutboxEvent

BATCH = 500
PAGE = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which events; everything that is given must be true of an event."""

    ids: Collection[UUID] = ()
    pattern: str = ""  # Of types.
    key: str | None = None
    published_from: datetime | None = None
    published_until: datetime | None = None
    parked_reason: str = ""
    confirmed: bool = False  # Confirmed events instead of parked ones.

    def __bool__(self) -> bool:
        return any(
            (
                self.ids,
                self.pattern,
                self.key is not None,
                self.published_from,
                self.published_until,
                self.parked_reason,
            )
        )


@dataclass(frozen=True, slots=True)
class Chosen:
    """
    The rows of a selection, lowest first, and how many of each type and reason.

    Rows rather than a condition: what is shown before a replay is exactly what is
    replayed, even if more comes to match meanwhile.
    """

    rows: list[int]
    counts: Counter[tuple[str, str]]


def select(selection: Selection, *, using: str) -> Chosen:
    """Find the events of a selection."""
    chosen = Chosen([], Counter())
    for row, type, reason in _matching(selection, using):
        chosen.rows.append(row)
        chosen.counts[type, reason] += 1
    return chosen


def replay(rows: Sequence[int], *, using: str) -> Iterator[int]:
    """
    Make these rows pending again, lowest first; yields how many after each batch.

    They keep their ids, on the wire too: a consumer's inbox knows that it has them.
    """
    for start in range(0, len(rows), BATCH):
        yield _again(using, rows[start : start + BATCH]).update(
            confirmed_at=None,
            parked_at=None,
            parked_reason="",
            attempts=0,
            retry_at=DatabaseNow(),  # Due from now on, not since it was published.
            last_error="",
        )


def event_ids(rows: Sequence[int], *, using: str) -> Iterator[list[UUID]]:
    """The ids of these rows' events, in batches."""
    events = OutboxEvent.objects.using(using)
    for start in range(0, len(rows), BATCH):
        chosen = events.filter(id__in=rows[start : start + BATCH])
        yield list(chosen.values_list("event_id", flat=True))


def discard(rows: Sequence[int], *, using: str) -> int:
    """Delete parked events for good; says how many."""
    deleted = 0
    for start in range(0, len(rows), BATCH):
        chosen = OutboxEvent.objects.using(using).parked()
        deleted += chosen.filter(id__in=rows[start : start + BATCH]).delete()[0]
    return deleted


def _again(using: str, rows: Sequence[int]) -> models.QuerySet[OutboxEvent]:
    # A pending row is left alone: replaying it would forget its attempts.
    return OutboxEvent.objects.using(using).filter(
        models.Q(confirmed_at__isnull=False) | models.Q(parked_at__isnull=False),
        id__in=rows,
    )


def _matching(selection: Selection, using: str) -> Iterator[tuple[int, str, str]]:
    # Here: the admin loads this module in every process.
    from django_strangler.brokers.patterns import matches

    events = OutboxEvent.objects.using(using)
    rows = events.confirmed() if selection.confirmed else events.parked()
    if selection.ids:
        rows = rows.filter(event_id__in=selection.ids)
    if selection.key is not None:
        rows = rows.filter(key=selection.key)
    if selection.published_from:
        rows = rows.filter(published_at__gte=selection.published_from)
    if selection.published_until:
        rows = rows.filter(published_at__lt=selection.published_until)
    if selection.parked_reason:
        rows = rows.filter(parked_reason=selection.parked_reason)
    columns = rows.order_by("id").values_list("id", "type", "parked_reason", "key")
    last = 0
    # In pages: a server-side cursor does not work behind a transaction-pooling proxy.
    while page := list(columns.filter(id__gt=last)[:PAGE]):
        for row, type, reason, key in page:
            # A database's collation may take look-alikes for the key.
            if selection.key is not None and key != selection.key:
                continue
            if not selection.pattern or matches(selection.pattern, type):
                yield row, type, reason
        last = page[-1][0]
