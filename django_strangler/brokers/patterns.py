"""AMQP's topic patterns: ``*`` stands for one word, ``#`` for any number of words."""

from __future__ import annotations

import re
from functools import lru_cache

_PATTERN = re.compile(r"(\*|#|[A-Za-z0-9_-]+)(\.(\*|#|[A-Za-z0-9_-]+))*")


def is_pattern(pattern: object) -> bool:
    """Whether this is a pattern that can match an event's type."""
    return isinstance(pattern, str) and _PATTERN.fullmatch(pattern) is not None


def matches(pattern: str, type: str) -> bool:
    """Whether events of this type match the pattern."""
    return _compiled(pattern).fullmatch(f".{type}") is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    # Each word carries the dot in front of it, so that # can stand for no word at all.
    words = {"*": r"\.[^.]+", "#": r"(?:\.[^.]+)*"}
    return re.compile(
        "".join(
            words.get(word) or rf"\.{re.escape(word)}" for word in pattern.split(".")
        )
    )
