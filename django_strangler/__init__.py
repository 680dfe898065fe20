"""Publish events from a Django monolith while it is being strangled into services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_strangler import feature_flags
    from django_strangler.inbox.subscribers import subscribe
    from django_strangler.outbox.publishing import publish_event, publish_events

__all__ = ["feature_flags", "publish_event", "publish_events", "subscribe"]

_HOMES = {
    "publish_event": "django_strangler.outbox.publishing",
    "publish_events": "django_strangler.outbox.publishing",
    "subscribe": "django_strangler.inbox.subscribers",
}

if not TYPE_CHECKING:  # Or every name would pass for one of these.

    def __getattr__(name: str) -> Any:
        # Resolved when used: an import of this package must not load models, because
        # Django imports it before the app registry is ready.
        from importlib import import_module

        if name == "feature_flags":
            return import_module("django_strangler.feature_flags")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)
