"""How long things took: counts in buckets that each reach a tenth further."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

# From a tenth of a millisecond to two minutes. A quantile is right to within 5 %, so
# that a guard can tell 1.2 times as long from just as long.
GROWTH = 1.1
FIRST = 0.0001
BOUNDS = tuple(FIRST * GROWTH**step for step in range(147))


def bucket_of(seconds: float) -> int:
    """The bucket of a duration; the last one has no upper end."""
    return bisect_left(BOUNDS, seconds)


def quantile(buckets: Mapping[int, int], share: float) -> float | None:
    """The duration that this share of all did not exceed; None without any."""
    wanted = share * sum(buckets.values())
    if not wanted:
        return None
    passed = 0
    for bucket in sorted(buckets):
        number = buckets[bucket]
        if passed + number >= wanted:
            upper = BOUNDS[min(bucket, len(BOUNDS) - 1)]
            # Between the ends of the bucket, as far as it is still needed.
            return float(upper * GROWTH ** ((wanted - passed) / number - 1))
        passed += number
    raise AssertionError("the share is at most 1")
