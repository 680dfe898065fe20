"""What the tests of a project use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .delivering import deliver
    from .draining import drain
    from .flags import override_flag
    from .mixins import PublishedEventsMixin
    from .published import PublishedEvents, autocommit_allowed

__all__ = [
    "PublishedEvents",
    "PublishedEventsMixin",
    "autocommit_allowed",
    "deliver",
    "drain",
    "override_flag",
]

_HOMES = {
    "PublishedEvents": "published",
    "PublishedEventsMixin": "mixins",
    "autocommit_allowed": "published",
    "deliver": "delivering",
    "drain": "draining",
    "override_flag": "flags",
}


def __getattr__(name: str) -> Any:
    # Resolved when used: the pytest plugin in this package is imported by pytest
    # runs that know nothing of Django.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
