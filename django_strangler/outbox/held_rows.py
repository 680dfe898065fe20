"""Held types in the database, where all relays and people see them."""

from __future__ import annotations

import hashlib
from uuid import UUID

from django.db import connections
from django.db.models import QuerySet

from django_strangler.clock import DatabaseNow
from django_strangler.databases import claim_once

from .held import Change, Held
from .models import HeldType

CLAIM = 15.0  # Seconds for which one relay may probe a type.


def digest_of(type: str) -> UUID:
    """What tells types apart exactly, whatever the database's collation."""
    # Marked as of version 4: MariaDB takes not every 128 bits for a UUID.
    return UUID(bytes=hashlib.sha256(type.encode()).digest()[:16], version=4)


def claim(type: str, *, using: str, is_opening: bool) -> bool:
    """Whether it is for this relay to probe the type now."""
    rows = _rows(type, using)
    if not is_opening:
        rows = rows.filter(probe_at__lte=DatabaseNow())
    return bool(rows.update(probe_at=DatabaseNow(CLAIM)))


def write(held: Held, now: float, *, using: str) -> None:
    """Write down what has changed; kept, and repeated, if this raises."""
    for type, change in list(held.changes.items()):
        rows = _rows(type, using)
        if change is Change.OPENED:
            causes = list(rows.values_list("cause", flat=True))
            rows.delete()
            # Of a broker that was ill, all may be well.
            others = HeldType.objects.using(using).filter(cause__in=causes, parks=False)
            others.update(probe_at=DatabaseNow())
        elif type in held:
            ours = held[type]
            values = {
                "cause": ours.cause,
                "reason": ours.reason,
                "tries": ours.tries,
                "parks": ours.parks,
                "probe_at": DatabaseNow(max(0.0, ours.probe_at - now)),
            }
            if change is Change.HELD:
                values["since"] = DatabaseNow()
                claim_once(
                    connections[using],
                    HeldType._meta.db_table,
                    values={"digest": digest_of(type), "type": type, **values},
                    unique=("digest",),
                ) or rows.filter(parks=True).update(**values)
            else:
                rows.update(**values)
        del held.changes[type]


def _rows(type: str, using: str) -> QuerySet[HeldType]:
    return HeldType.objects.using(using).filter(digest=digest_of(type))
