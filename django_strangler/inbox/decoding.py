"""From an event on its way back to the value that was published."""

from __future__ import annotations

import json
from uuid import UUID

from django_strangler.brokers.base import Outgoing
from django_strangler.events import Event


def decode(outgoing: Outgoing) -> Event:
    """The event as a subscriber gets it."""
    return Event(
        id=UUID(outgoing.id),
        type=outgoing.type,
        payload=json.loads(outgoing.body),
        key=outgoing.key,
        headers=outgoing.headers,
        correlation_id=outgoing.correlation_id,
        published_at=outgoing.published_at,
    )
