"""What the tests of a project use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

if TYPE_CHECKING:
    from .delivering import deliver as deliver
    from .draining import drain as drain
    from .flags import override_flag as override_flag
    from .mixins import PublishedEventsMixin as PublishedEventsMixin
    from .published import PublishedEvents as PublishedEvents
    from .published import autocommit_allowed as autocommit_allowed


# The pytest plugin in this package is imported by pytest runs that know nothing of
# Django.
if not TYPE_CHECKING:  # Or every name would pass for one of these.
    __all__, __getattr__, __dir__ = face(
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
