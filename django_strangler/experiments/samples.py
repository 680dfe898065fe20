"""Samples of a difference: short, and without what must not be shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from .comparing import Difference
from .plain import Plain, plain, text_of

LENGTH = 600  # Characters of one side, and of the context.
MASK = "•••"


def sample(
    difference: Difference,
    told: Mapping[str, Any],
    at: datetime,
    hidden: Sequence[str],
) -> dict[str, str]:
    """One pair of values as text."""
    control, candidate, context = difference.control, difference.candidate, told
    if _is_hidden(difference.path.rsplit("/", 1)[-1], hidden):
        control = candidate = MASK
    return {
        "at": at.isoformat(timespec="seconds"),
        "control": _short(masked(control, hidden)),
        "candidate": _short(masked(candidate, hidden)),
        "context": _short(masked(plain(context, nodes=200), hidden)) if context else "",
    }


def masked(value: Plain, hidden: Sequence[str]) -> Plain:
    """The value without what stands under a name that says it is secret."""
    if isinstance(value, dict):
        return {
            key: MASK if _is_hidden(key, hidden) else masked(each, hidden)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [masked(each, hidden) for each in value]
    return value


def _is_hidden(name: str, hidden: Sequence[str]) -> bool:
    return any(word.lower() in name.lower() for word in hidden)


def _short(value: Plain) -> str:
    text = value if isinstance(value, str) else text_of(value)
    return text if len(text) <= LENGTH else f"{text[: LENGTH - 1]}…"
