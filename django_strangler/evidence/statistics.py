"""
When the modern side is worse beyond doubt: pure functions of counts.

A guard looks every second for weeks. What is rare in one look happens in so many, so a
difference must be outside of both sides' 95 % intervals, larger than a margin, and out
of the reach of chance.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .histogram import quantile
from .reading import Seen, Slice, summed

Z95 = 1.959963984540054


class Ground(enum.Enum):
    """Why a guard trips."""

    BURST = "burst"
    FAILURES = "failures"
    LIMIT = "limit"
    SLOWER = "slower"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a guard allows."""

    margin: float = 0.5  # Points of percent by which modern may fail more often.
    limit: float = 0.5  # Percent that may fail where there is no legacy side.
    slower: float | None = 1.2  # Times legacy's p99; None: durations do not count.
    least: int = 200  # Samples of a side; below, only a burst counts.
    window: float = 300.0  # Seconds, or since the last change of the flag.
    burst: int = 20  # Failures in a row, with no success between.
    chance: float = 1e-8  # Of a difference where there is none, for each sample.


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """What was found against the modern side, in words."""

    ground: Ground
    source: str
    text: str


def wilson(failed: int, checked: int, z: float = Z95) -> tuple[float, float]:
    """Between which shares the true one lies, after so many (Wilson's interval)."""
    if not checked:
        return 0.0, 1.0
    share, square = failed / checked, z * z
    middle = share + square / (2 * checked)
    half = z * math.sqrt(
        share * (1 - share) / checked + square / (4 * checked * checked)
    )
    whole = 1 + square / checked
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)


def chance(modern: Seen, legacy: Seen) -> float:
    """
    How likely modern has so many of all failures, were both sides alike (Fisher).

    Given the failures of both, each falls on a side by that side's share of the notes.
    """
    both = modern.failed + legacy.failed
    return tail(modern.failed, both, modern.checked / (modern.checked + legacy.checked))


def tail(least: int, number: int, share: float) -> float:
    """How likely at least so many of a number are hit; 1 if that is no surprise."""
    if least <= number * share or share in (0.0, 1.0):
        return 1.0
    term = total = math.exp(
        math.lgamma(number + 1)
        - math.lgamma(least + 1)
        - math.lgamma(number - least + 1)
        + least * math.log(share)
        + (number - least) * math.log1p(-share)
    )
    # Beyond the mean each term is smaller than the one before.
    for hit in range(least, number):
        term *= (number - hit) / (hit + 1) * share / (1 - share)
        total += term
        if term <= total * 1e-12:  # Both may be 0.
            break
    return total


def fails_more(rule: Rule, source: str, modern: Seen, legacy: Seen) -> Doubt | None:
    """Modern's failures, by their lower bound, above legacy's by their upper one."""
    if modern.checked < rule.least or not legacy.checked:
        return None
    least, most = wilson(modern.failed, modern.checked)[0], _upper(legacy)
    if least <= most + rule.margin / 100:
        return None
    if chance(modern, legacy) > rule.chance * modern.checked:
        return None
    return Doubt(
        ground=Ground.FAILURES,
        source=source,
        text=f"{_share(modern)} fail on the modern side, {_share(legacy)} on the legacy"
        " side.",
    )


def fails_too_often(rule: Rule, source: str, modern: Seen) -> Doubt | None:
    """The same where there is nothing to compare with."""
    if modern.checked < rule.least:
        return None
    if wilson(modern.failed, modern.checked)[0] <= rule.limit / 100:
        return None
    if tail(modern.failed, modern.checked, rule.limit / 100) > (
        rule.chance * modern.checked
    ):
        return None
    return Doubt(
        ground=Ground.LIMIT,
        source=source,
        text=f"{_share(modern)} fail; the limit is {rule.limit:g} %.",
    )


def is_slower(
    rule: Rule,
    source: str,
    modern: Sequence[Mapping[int, int]],
    legacy: Sequence[Mapping[int, int]],
) -> Doubt | None:
    """Modern's p99 above legacy's, in each part of the window, beyond doubt."""
    if rule.slower is None:
        return None
    for ours, theirs in zip(modern, legacy, strict=True):
        if min(sum(ours.values()), sum(theirs.values())) < rule.least:
            return None
        low, high = _p99(ours, -Z95), _p99(theirs, Z95)
        if low is None or high is None or low <= high * rule.slower:
            return None
    p99 = [
        quantile(sum(map(Counter, each), Counter()), 0.99) for each in (modern, legacy)
    ]
    return Doubt(
        ground=Ground.SLOWER,
        source=source,
        text=f"1 % take longer than {p99[0]:.3g} s on the modern side, than "
        f"{p99[1]:.3g} s on the legacy side.",
    )


def is_burst(
    rule: Rule, source: str, modern: Iterable[Slice], age: float
) -> Doubt | None:
    """So many failures, of all processes, since the last success of any of them."""
    newest: dict[str, Slice] = {}
    for each in modern:
        known = newest.get(each.process)
        if known is None or each.number > known.number:
            newest[each.process] = each
    successes = [each.success for each in newest.values() if each.success is not None]
    since = min([age, *successes])
    failures = [
        failure
        for each in newest.values()
        for failure in each.failures
        if failure <= since
    ]
    if len(failures) < rule.burst:
        return None
    return Doubt(
        ground=Ground.BURST,
        source=source,
        text=f"{rule.burst} failures in a row, and no success between.",
    )


def judge(
    rule: Rule, source: str, slices: Iterable[Slice], age: float, *, before: Seen
) -> Doubt | None:
    """
    All of it, for one source and the slices of its last ``age`` seconds.

    ``before`` is legacy's side in the days before, for a rollout so far that legacy is
    hardly seen any more.
    """
    sides: dict[str, list[Slice]] = {"modern": [], "legacy": []}
    for each in slices:
        sides[each.side].append(each)
    modern, legacy = summed(sides["modern"]), summed(sides["legacy"])
    if burst := is_burst(rule, source, sides["modern"], age):
        return burst
    known = legacy if legacy.checked >= min(rule.least, before.checked) else before
    if known.checked:
        worse = fails_more(rule, source, modern, known)
    else:
        worse = fails_too_often(rule, source, modern)
    return worse or is_slower(
        rule, source, *(_halves(sides[side], age) for side in ("modern", "legacy"))
    )


def _halves(slices: Iterable[Slice], age: float) -> list[Counter[int]]:
    halves: list[Counter[int]] = [Counter(), Counter()]
    for each in slices:
        halves[each.began < age / 2].update(each.buckets)
    return halves


def _p99(buckets: Mapping[int, int], z: float) -> float | None:
    """The p99, moved to an end of its own interval (by order statistics)."""
    number = sum(buckets.values())
    return quantile(buckets, min(1.0, 0.99 + z * math.sqrt(0.99 * 0.01 / number)))


def _upper(seen: Seen) -> float:
    return wilson(seen.failed, seen.checked)[1]


def _share(seen: Seen) -> str:
    share = seen.failed / seen.checked if seen.checked else 0.0
    return f"{share:.2%} of {seen.checked:,}".replace("%", " %")
