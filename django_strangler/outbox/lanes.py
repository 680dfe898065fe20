"""Lanes: fixed slices of the keys, part of the table's format."""

from __future__ import annotations

import itertools
import zlib

LANES = 32  # Never a setting: rows carry their lane.

_turn = itertools.count()


def lane_of(key: str) -> int:
    """The lane of a key; events without one go round all lanes."""
    if not key:
        return next(_turn) % LANES
    return zlib.crc32(key.encode()) % LANES
