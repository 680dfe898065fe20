"""Publish events from a Django monolith while it is being strangled into services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

if TYPE_CHECKING:
    from django_strangler import evidence as evidence
    from django_strangler import feature_flags as feature_flags
    from django_strangler.inbox.subscribers import subscribe as subscribe
    from django_strangler.outbox.cancelling import cancel_event as cancel_event
    from django_strangler.outbox.publishing import publish_event as publish_event
    from django_strangler.outbox.publishing import publish_events as publish_events


# An import of this package must not load models: Django imports it early.
if not TYPE_CHECKING:  # Or every name would pass for one of these.
    __all__, __getattr__, __dir__ = face(
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
