"""Upcasters: what makes an old payload one of a later version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from .exceptions import InvalidContract

Upcaster: TypeAlias = "Callable[[dict[str, Any]], dict[str, Any]]"

registered: dict[tuple[str, int], tuple[int, Upcaster]] = {}  # By type and version.


def upcast(type: str, since: int, to: int) -> Callable[[Upcaster], Upcaster]:
    """Register what makes a payload of version ``since`` one of version ``to``."""
    if not 0 < since < to:
        raise InvalidContract(f"An upcaster of {type!r} goes up, not {since} to {to}.")

    def register(upcaster: Upcaster) -> Upcaster:
        known = registered.get((type, since))
        if known is not None and place(known[1]) != place(upcaster):
            raise InvalidContract(f"{type!r} has two upcasters from {since}. Keep one.")
        registered[type, since] = to, upcaster
        return upcaster

    return register


def upcasted(type: str, payload: Any, version: int, to: int) -> Any:
    """A payload of that version, brought as far up as upcasters lead."""
    while version < to and (type, version) in registered:
        version, upcaster = registered[type, version]
        payload = upcaster(payload)
    return payload


def place(value: Any) -> str:
    """Where a class or a function was defined."""
    return f"{value.__module__}.{value.__qualname__}"
