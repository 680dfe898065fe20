"""The survey: what is tied together in a monolith, and when the old side may go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

if TYPE_CHECKING:
    from .couplings import Coupling as Coupling
    from .couplings import Kind as Kind
    from .surveying import Survey as Survey
    from .surveying import survey as survey


if not TYPE_CHECKING:  # Or every name would pass for one of these.
    __all__, __getattr__, __dir__ = face(
        __name__,
        {
            "Coupling": ".couplings",
            "Kind": ".couplings",
            "Survey": ".surveying",
            "survey": ".surveying",
        },
    )
