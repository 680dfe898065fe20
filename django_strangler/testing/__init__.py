"""What tests of applications use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_strangler.testing.draining import drain

__all__ = ["drain"]

_HOMES = {"drain": "django_strangler.testing.draining"}


def __getattr__(name: str) -> Any:
    # Resolved when used: pytest imports this package before Django is set up.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
