"""Findings: what an examination says of a part, and how bad it is."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Level(enum.Enum):
    """How a part is."""

    FINE = "fine"
    TROUBLE = "trouble"
    UNKNOWN = "unknown"  # It could not be looked at.


class Finding(NamedTuple):
    """One of them, with what to do about it."""

    level: Level
    text: str
    todo: str = ""
