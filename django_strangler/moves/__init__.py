"""Moves: tables go to another database while everybody writes, and come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

from .declaring import Move, Table
from .exceptions import MoveClosed, OutsideMove

if TYPE_CHECKING:
    from .using import Router, atomic, model, reading

__all__ = [
    "Move",
    "MoveClosed",
    "OutsideMove",
    "Router",
    "Table",
    "atomic",
    "model",
    "reading",
]

# These need connections and models, and declaring must not.
if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        dict.fromkeys(("Router", "atomic", "model", "reading"), ".using"),
    )
