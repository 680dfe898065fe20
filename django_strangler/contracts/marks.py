"""Marks: what a type alone does not say, in ``Annotated[int, limits(least=0)]``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .exceptions import InvalidContract


@dataclass(frozen=True, slots=True, eq=False)  # Hashable, as typing wants it.
class Keywords:
    """What a mark adds to the schema of a field."""

    schema: dict[str, Any]


class _OpenEnum:
    """The mark ``open_enum``."""

    def __repr__(self) -> str:
        return "open_enum"


open_enum = _OpenEnum()  # Readers bear values that they do not know.


def limits(
    *,
    least: float | None = None,
    most: float | None = None,
    shortest: int | None = None,
    longest: int | None = None,
    pattern: str | None = None,
    example: str | None = None,
) -> Keywords:
    """
    Bounds of a number, the length of a text, or its pattern with an example.

    Patterns are JSON Schema's: unanchored, and read by other languages as well.
    """
    for low, high in ((least, most), (shortest, longest)):
        if low is not None and high is not None and low > high:
            raise InvalidContract(f"Nothing lies between {low} and {high}. Swap them.")
    if pattern is not None and (
        example is None or not _compiled(pattern).search(example)
    ):
        raise InvalidContract(
            f"The pattern {pattern!r} needs an example that fits it, for the samples: "
            "limits(pattern=…, example=…)."
        )
    given = {
        "minimum": least,
        "maximum": most,
        "minLength": shortest,
        "maxLength": longest,
        "pattern": pattern,
        "examples": None if example is None else [example],
    }
    return Keywords({name: value for name, value in given.items() if value is not None})


def unit(name: str) -> Keywords:
    """What a number counts: ``unit("cents")``. Another unit is a break."""
    return Keywords({"x-unit": name})


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InvalidContract(f"{pattern!r} is not a pattern: {error}.") from error
