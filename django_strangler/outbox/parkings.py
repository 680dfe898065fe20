"""What the log says of parked events: one line per batch, no payloads."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django_strangler import signals
from django_strangler.announcing import Announcer
from django_strangler.logs import fields

if TYPE_CHECKING:  # Each process listens, and few ever see a broker.
    from django_strangler.brokers.base import Outgoing

announcer = Announcer(logging.getLogger("django_strangler.outbox.relay"))


def log_parked(
    sender: object,
    events: Sequence[Outgoing],
    reason: str,
    error: str,
    relay: str = "",
    **kwargs: Any,
) -> None:
    """Say which types were parked, why, and what to do."""
    types = Counter(event.type for event in events)
    first = events[0]
    announcer.warning(
        (reason, *sorted(types)),
        "Parked %d events (%s) as %s: %s",
        len(events),
        ", ".join(f"{count} {type}" for type, count in types.most_common(5)),
        reason,
        error,
        extra=fields(first.id, first.type, first.headers, lane=first.lane, relay=relay),
    )


def connect() -> None:
    """Begin to listen."""
    signals.events_parked.connect(log_parked, dispatch_uid="strangler.parkings")
