"""What options accept; each says in plain words what it wants."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable

from django.db import connections

DAY = 86400


def whole_number(least: int = 1, most: int = 2**31 - 1) -> Callable[[str], int]:
    """A whole number within these limits."""

    def convert(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise ArgumentTypeError(f"{text} is not from {least} to {most}")
        return value

    return convert


def seconds(least: float, most: float = DAY) -> Callable[[str], float]:
    """A duration within these limits."""

    def convert(text: str) -> float:
        value = float(text)
        if not least <= value <= most:  # Nor is NaN.
            raise ArgumentTypeError(f"{text} is not from {least:g} to {most:g} seconds")
        return value

    return convert


def alias(text: str) -> str:
    """A database of the project."""
    if text not in connections:
        raise ArgumentTypeError(f"there is no database {text!r} in DATABASES")
    return text
