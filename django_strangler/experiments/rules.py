"""What an experiment may be told. Pure rules."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar

from .exceptions import InvalidExperiment

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")

E = TypeVar("E")


def checked_name(name: object) -> str:
    """The name, if it can be one."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise InvalidExperiment(
        f"{name!r:.120} is not a valid name of an experiment or candidate. Use up to "
        'eighty lower-case letters, digits, dots, - and _: "receipt-total".'
    )


def fraction(what: str, value: object) -> float:
    """A share from 0 to 1."""
    if (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and 0 <= value <= 1
    ):
        return float(value)
    raise InvalidExperiment(f"{what}={value!r:.80} must be a number from 0 to 1.")


def duration(what: str, value: object) -> float:
    """Seconds, more than none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
        return float(value)
    raise InvalidExperiment(f"{what}={value!r:.80} must be a number of seconds.")


def one_of(what: str, value: object, choices: type[E]) -> E:
    """The member of an enum that is meant."""
    try:
        return choices(value)  # type: ignore[call-arg]
    except ValueError:
        known = ", ".join(repr(each.value) for each in choices)  # type: ignore[attr-defined]
        raise InvalidExperiment(
            f"{what}={value!r:.80} must be one of {known}."
        ) from None


def texts(what: str, value: Iterable[object]) -> tuple[str, ...]:
    """Several texts; a single one is a mistake that would be taken for its letters."""
    found = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(each, str) and each for each in found):
        raise InvalidExperiment(f"{what}={value!r:.80} must hold texts.")
    return found  # type: ignore[return-value]
