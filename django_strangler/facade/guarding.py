"""
A route's flag has a guard from the first: it goes off when the service fails.

Set when the flag is created, in the same transaction. A person who removes it, or sets
another, is not overruled.
"""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_save

from django_strangler import feature_flags
from django_strangler.feature_flags.models import Flag


def connect() -> None:
    """Let a new flag of a route get its guard, from now on."""
    post_save.connect(_guard, sender=Flag, dispatch_uid="strangler_facade")


def _guard(
    sender: Any, instance: Flag, created: bool, raw: bool = False, **kwargs: Any
) -> None:
    from .routes import routes

    sources = sorted(route.source for route in routes if route.flag == instance.name)
    if created and not raw and sources:
        feature_flags.set_guard(
            instance.name,
            on=sources,
            action="off",
            why="Set by itself: the flag is of a route.",
        )
