"""What the tests of a project use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

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

# The pytest plugin in this package is imported by pytest runs that know nothing of
# Django.
if not TYPE_CHECKING:  # Or every name would pass for one of these.
    __getattr__, __dir__ = face(
        __name__,
        {
            "PublishedEvents": ".published",
            "PublishedEventsMixin": ".mixins",
            "autocommit_allowed": ".published",
            "deliver": ".delivering",
            "drain": ".draining",
            "override_flag": ".flags",
        },
    )
