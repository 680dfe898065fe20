"""Sagas: several services act as one, or undo what they did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

_HOMES = {
    "Command": "participants",
    "Refused": "exceptions",
    "Saga": "definitions",
    "SagaRun": "models",
    "participant": "participants",
    "pivot": "definitions",
    "saga": "definitions",
    "start_saga": "starting",
    "step": "definitions",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        # Resolved when used: Django imports this package before models may be loaded.
        from importlib import import_module

        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
