"""Sagas: several services act as one, or undo what they did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

if TYPE_CHECKING:
    from .definitions import Saga, pivot, saga, step
    from .exceptions import Refused
    from .models import SagaRun
    from .participants import Command, participant
    from .starting import start_saga

__all__ = [
    "Command",
    "Refused",
    "Saga",
    "SagaRun",
    "participant",
    "pivot",
    "saga",
    "start_saga",
    "step",
]

# Django imports this package before its models may be loaded.
if not TYPE_CHECKING:  # Or every name would pass for one of these.
    __getattr__, __dir__ = face(
        __name__,
        {
            "Command": ".participants",
            "Refused": ".exceptions",
            "Saga": ".definitions",
            "SagaRun": ".models",
            "participant": ".participants",
            "pivot": ".definitions",
            "saga": ".definitions",
            "start_saga": ".starting",
            "step": ".definitions",
        },
    )
