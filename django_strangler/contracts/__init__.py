"""Contracts: what an event type holds, who reads what of it, whom a change hurts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

if TYPE_CHECKING:
    from .declare import event as event
    from .declare import reads as reads
    from .events import as_events as as_events
    from .exceptions import CannotJudge as CannotJudge
    from .exceptions import InvalidContract as InvalidContract
    from .exceptions import Unreadable as Unreadable
    from .marks import limits as limits
    from .marks import open_enum as open_enum
    from .marks import unit as unit
    from .upcasters import upcast as upcast


if not TYPE_CHECKING:
    __all__, __getattr__, __dir__ = face(
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
