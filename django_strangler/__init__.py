"""Publish events from a Django monolith while it is being strangled into services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

if TYPE_CHECKING:
    from django_strangler import evidence, feature_flags
    from django_strangler.inbox.subscribers import subscribe
    from django_strangler.outbox.cancelling import cancel_event
    from django_strangler.outbox.publishing import publish_event, publish_events

__all__ = [
    "cancel_event",
    "evidence",
    "feature_flags",
    "publish_event",
    "publish_events",
    "subscribe",
]

# An import of this package must not load models: Django imports it early.
if not TYPE_CHECKING:  # Or every name would pass for one of these.
    __getattr__, __dir__ = face(
        __name__,
        {
            "cancel_event": ".outbox.cancelling",
            "evidence": ".evidence",
            "feature_flags": ".feature_flags",
            "publish_event": ".outbox.publishing",
            "publish_events": ".outbox.publishing",
            "subscribe": ".inbox.subscribers",
        },
    )
