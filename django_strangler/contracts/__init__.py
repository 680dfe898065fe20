"""Contracts: what an event type holds, who reads what of it, whom a change hurts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

if TYPE_CHECKING:
    from .declare import event, reads
    from .events import as_events
    from .exceptions import CannotJudge, InvalidContract, Unreadable
    from .marks import limits, open_enum, unit
    from .upcasters import upcast

__all__ = [
    "CannotJudge",
    "InvalidContract",
    "Unreadable",
    "as_events",
    "event",
    "limits",
    "open_enum",
    "reads",
    "unit",
    "upcast",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            "CannotJudge": ".exceptions",
            "InvalidContract": ".exceptions",
            "Unreadable": ".exceptions",
            "as_events": ".events",
            "event": ".declare",
            "limits": ".marks",
            "open_enum": ".marks",
            "reads": ".declare",
            "unit": ".marks",
            "upcast": ".upcasters",
        },
    )
