"""Moves: tables go to another database while everybody writes, and come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

from .capturing import capture
from .declaring import Move, Table
from .exceptions import MoveClosed, OutsideMove

if TYPE_CHECKING:
    from .replicas import replica
    from .using import Router, atomic, model, reading

__all__ = [
    "Move",
    "MoveClosed",
    "OutsideMove",
    "Router",
    "Table",
    "atomic",
    "capture",
    "model",
    "reading",
    "replica",
]

# These need connections and models, and declaring must not.
if not TYPE_CHECKING:
    __getattr__, __dir__ = face(
        __name__,
        {
            **dict.fromkeys(("Router", "atomic", "model", "reading"), ".using"),
            "replica": ".replicas",
        },
    )[1:]
