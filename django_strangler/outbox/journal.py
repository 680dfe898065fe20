"""What the log says of parked events: one line per batch, no payloads."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from django_strangler import signals
from django_strangler.brokers.base import Outgoing

logger = logging.getLogger("django_strangler.outbox.relay")


def log_parked(
    sender: object, events: Sequence[Outgoing], reason: str, error: str, **kwargs: Any
) -> None:
    """Say which types were parked, why, and what to do."""
    types = Counter(event.type for event in events)
    logger.warning(
        "Parked %d events (%s) as %s: %s",
        len(events),
        ", ".join(f"{count} {type}" for type, count in types.most_common(5)),
        reason,
        error,
        extra={"event_id": events[0].id, "event_type": events[0].type},
    )


def connect() -> None:
    """Begin to listen."""
    signals.events_parked.connect(log_parked, dispatch_uid="strangler.journal")
