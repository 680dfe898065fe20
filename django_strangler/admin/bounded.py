"""
Lists that stay quick on millions of rows: each reads a bounded slice of an index.

A state is a range of the table's index. A type and a key are looked for among the first
``SEARCHED`` rows of the list.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Any, TypeAlias

from django.core.paginator import Paginator
from django.db import connections
from django.db.models import F, Q, QuerySet

from django_strangler.outbox.dialect import in_index_order

Rows: TypeAlias = QuerySet[Any]  # Of OutboxEvent, with its verbs.

COUNTED = 10_000  # Rows that a list counts and leads to.
SEARCHED = 50_000  # Rows among which a type or a key is looked for.

STATES = ("pending", "delayed", "parked", "confirmed")
# When a row came into its state.
SINCE = {"confirmed": "confirmed_at", "parked": "parked_at"}


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than ``COUNTED``."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, or COUNTED if there are more."""
        rows: Any = self.object_list
        return int(rows.values("pk")[:COUNTED].count())


def order(state: str, vendor: str) -> tuple[str, ...]:
    """
    How a list is ordered, so that the index is walked and nothing sorted.

    Of the pending, the oldest come first: those are the ones that are looked for.
    """
    if not state:
        return ("-id",)
    known = {"due": 3, "pending": 2, "delayed": 2, "parked": 1, "confirmed": 0}[state]
    names = in_index_order(vendor, known)
    return tuple(f"-{name}" for name in names) if state in SINCE else names


def ordered(rows: Rows, state: str) -> Rows:
    """The rows of a list in its order."""
    return rows.order_by(*order(state, connections[rows.db].vendor))


def in_state(rows: Rows, state: str) -> Rows:
    """The rows in this state; all of them without one."""
    chosen: Rows = getattr(rows, state)() if state else rows
    return chosen


def searched(rows: Rows, state: str) -> Rows:
    """The first ``SEARCHED`` rows of a list, as a range of its index."""
    if state in SINCE:
        name = SINCE[state]
        edge: datetime | None = _at(ordered(rows, state), name)
        return rows if edge is None else rows.filter(**{f"{name}__gt": edge})
    if state == "delayed":
        edge = _at(ordered(rows, state), "available_at")
        return rows if edge is None else rows.filter(available_at__lt=edge)
    if state == "pending":
        # The delayed stand in another place of the index, and are few.
        edge_id = _at(ordered(rows.filter(available_at=None), "due"), "id")
        if edge_id is None:
            return rows
        # The sum keeps MariaDB from walking the primary key over all the confirmed.
        sum = F("id") + 0 if connections[rows.db].vendor == "mysql" else F("id")
        rows = rows.alias(sum=sum)
        return rows.filter(Q(sum__lt=edge_id) | Q(available_at__isnull=False))
    newest = rows.order_by("-id").values_list("id", flat=True).first()
    return rows if newest is None else rows.filter(id__gt=newest - SEARCHED)


def _at(rows: Rows, name: str) -> Any:
    beyond = rows.values_list(name, flat=True)[SEARCHED : SEARCHED + 1]
    return next(iter(beyond), None)
