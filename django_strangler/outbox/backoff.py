"""How long to wait before trying again."""

from __future__ import annotations

import random


def backoff(failures: int, *, first: float, most: float) -> float:
    """Seconds: doubling with each failure up to ``most``, less a random quarter."""
    # The exponent is bounded, for a count that has no bound.
    full = min(most, first * 2.0 ** min(max(failures, 1) - 1, 60))
    return full * random.uniform(0.75, 1.0)
