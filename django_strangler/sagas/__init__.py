"""Sagas: several services act as one, or undo what they did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

if TYPE_CHECKING:
    from .definitions import Saga as Saga
    from .definitions import pivot as pivot
    from .definitions import saga as saga
    from .definitions import step as step
    from .exceptions import Refused as Refused
    from .models import SagaRun as SagaRun
    from .participants import Command as Command
    from .participants import participant as participant
    from .starting import start_saga as start_saga


# Django imports this package before its models may be loaded.
if not TYPE_CHECKING:  # Or every name would pass for one of these.
    __all__, __getattr__, __dir__ = face(
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
