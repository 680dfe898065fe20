"""What the tests of a project that publishes events use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_strangler.testing.draining import drain
    from django_strangler.testing.flags import override_flag
    from django_strangler.testing.mixins import PublishedEventsMixin
    from django_strangler.testing.published import PublishedEvents, autocommit_allowed

__all__ = [
    "PublishedEvents",
    "PublishedEventsMixin",
    "autocommit_allowed",
    "drain",
    "override_flag",
]

_HOMES = {
    "PublishedEvents": "django_strangler.testing.published",
    "PublishedEventsMixin": "django_strangler.testing.mixins",
    "autocommit_allowed": "django_strangler.testing.published",
    "drain": "django_strangler.testing.draining",
    "override_flag": "django_strangler.testing.flags",
}


def __getattr__(name: str) -> Any:
    # Resolved when used: pytest imports this package before Django is set up, and in
    # projects that know nothing of it.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
