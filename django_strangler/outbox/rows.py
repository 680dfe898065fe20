"""From a row, as each driver brings it, to an event on its way out."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.timezone import get_default_timezone

from django_strangler.brokers.base import Outgoing

FOREVER = 1e18


class Due(NamedTuple):
    """A pending event, and for how long it has to wait until its next attempt."""

    event: Outgoing
    wait: float  # Seconds; 0 or less: now. FOREVER: parked, and stops its key.
    older: int | None = None  # In a part: the row that it follows, unless left out.


class Reach(NamedTuple):
    """Where a read looks, and what it leaves out."""

    lanes: Collection[int]
    without_rows: Collection[int] = ()
    without_keys: Collection[str] = ()
    without_types: Collection[str] = ()
    parked_hold: bool = False  # A parked event stops its key.


def decode(rows: Iterable[Any], connection: BaseDatabaseWrapper) -> list[Due]:
    """Rows of ``Dialect.columns``, the key that orders, the wait, what is older."""
    aware = aware_converter(connection)
    # The text is what PostgreSQL gives; the others store it without its dashes.
    id_text = str if connection.vendor == "postgresql" else _uuid_text
    return [
        Due(
            Outgoing(
                row,
                id_text(event_id),
                type,
                key,
                body,
                size,
                _from_json(headers)[0],
                correlation_id,
                aware(published_at),
                attempts,
                lane,
                order_key,
            ),
            0.0 if wait is None else float(wait),
            older,
        )
        for (
            row,
            event_id,
            type,
            key,
            body,
            size,
            headers,
            correlation_id,
            published_at,
            attempts,
            lane,
            order_key,
            wait,
            older,
        ) in rows
    ]


def aware_converter(connection: BaseDatabaseWrapper) -> Callable[[Any], datetime]:
    """From what the driver returns to an aware time."""
    zone = connection.timezone or get_default_timezone()

    def aware(value: Any) -> datetime:
        if isinstance(value, int):
            return _EPOCH + timedelta(microseconds=value)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        result: datetime = value if value.tzinfo else value.replace(tzinfo=zone)
        return result

    return aware


def _uuid_text(value: Any) -> str:
    return str(UUID(str(value)))


_from_json = json.JSONDecoder().raw_decode
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
