"""The survey: what is tied together in a monolith, and when the old side may go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

if TYPE_CHECKING:
    from .couplings import Coupling, Kind
    from .surveying import Survey, survey

__all__ = ["Coupling", "Kind", "Survey", "survey"]

if not TYPE_CHECKING:  # Or every name would pass for one of these.
    __getattr__, __dir__ = face(
        __name__,
        {
            "Coupling": ".couplings",
            "Kind": ".couplings",
            "Survey": ".surveying",
            "survey": ".surveying",
        },
    )
