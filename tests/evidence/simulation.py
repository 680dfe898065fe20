"""
How often a guard is wrong, and how soon it is right: run this as a module.

Traffic is drawn from binomial distributions with a seed, and judged once a second by
the functions that are shipped. The tables of docs/reference/evidence.md come from here.

A minute is drawn at once. Only where its failures could trip the guard, they are spread
over its seconds; so a thousand days take seconds.
"""

from __future__ import annotations

import math
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

import django

MINUTE, HOUR = 60, 3600
TIMES = 200
FALSE = [  # Modern and legacy a second, and how many in a hundred fail.
    (1, 0, 0.25),  # No legacy side, and half the limit.
    (50, 0, 0.25),
    (1, 0, 0.5),
    (50, 0, 0.5),
    (1, 1, 1),
    (1, 19, 1),
    (1, 19, 5),
    (50, 50, 1),
    (50, 950, 1),
    (50, 50, 10),
]
FULL = 4  # Slices of a minute that are whole within 300 seconds.


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What both sides get, and how many in a hundred fail; legacy may get nothing."""

    modern: int  # A second.
    legacy: int
    failing: float  # Percent, of legacy, and of modern unless told otherwise.
    worse: float = 1.0  # Times as many on the modern side.


# Whether the guard trips: modern's checked and failed, legacy's checked and failed.
Trips = Callable[[int, int, int, int], bool]


@cache
def _cumulated(number: int, share: float) -> tuple[float, ...]:
    """The distribution function of failures among so many."""
    return tuple(
        accumulate(
            math.exp(
                math.lgamma(number + 1)
                - math.lgamma(k + 1)
                - math.lgamma(number - k + 1)
                + k * math.log(share)
                + (number - k) * math.log1p(-share)
            )
            for k in range(number + 1)
        )
    )


def drawn(chance: random.Random, number: int, percent: float, times: int) -> list[int]:
    """Failures among so many, so many times."""
    if not number or not percent:
        return [0] * times
    table = _cumulated(number, percent / 100)
    return chance.choices(range(number + 1), cum_weights=table, k=times)


class Simulation:
    """A guard that looks at such traffic each second."""

    def __init__(self, trips: Trips, traffic: Traffic, seed: int = 1) -> None:
        self._trips, self._traffic = trips, traffic
        self._chance = random.Random(seed)
        self._least = cache(self._find_least)
        self._least_in_minute = cache(self._find_least_in_minute)

    def _find_least(
        self, seconds: int, legacy_failed: int, legacy_seconds: int = 0
    ) -> int:
        """The least of modern's failures that trips it in a window of such length."""
        modern = seconds * self._traffic.modern
        legacy = (legacy_seconds or seconds) * self._traffic.legacy
        if not self._trips(modern, modern, legacy, legacy_failed):
            return modern + 1
        low, high = 0, modern
        while low < high:
            middle = (low + high) // 2
            if self._trips(modern, middle, legacy, legacy_failed):
                high = middle
            else:
                low = middle + 1
        return low

    def _find_least_in_minute(self, full: int, legacy_failed: int) -> int:
        """No second of the minute is tripped by fewer."""
        first, last = full * MINUTE + 1, (full + 1) * MINUTE
        least = self._find_least(first, legacy_failed, last)
        # One less, as the chance that is allowed grows with the window. In the first
        # minutes there may be too few samples at first, and enough at last.
        return least - 1 if least <= first * self._traffic.modern else 0

    def _spread(self, failed: int, a_second: int) -> list[int]:
        seconds = [0] * MINUTE
        for place in self._chance.sample(range(a_second * MINUTE), failed):
            seconds[place // a_second] += 1
        return seconds

    def trips_at(self, hours: int) -> Iterator[int]:
        """The seconds at which it trips; the flag is changed then, and every hour."""
        traffic = self._traffic
        for hour in range(hours):
            both = zip(
                drawn(
                    self._chance,
                    traffic.modern * MINUTE,
                    traffic.failing * traffic.worse,
                    60,
                ),
                drawn(self._chance, traffic.legacy * MINUTE, traffic.failing, 60),
                strict=True,
            )
            modern: list[int] = []
            legacy: list[int] = []
            for minute, (ours, theirs) in enumerate(both):
                full, known, known_legacy = len(modern), sum(modern), sum(legacy)
                modern, legacy = [*modern, ours][-FULL:], [*legacy, theirs][-FULL:]
                if known + ours < self._least_in_minute(full, known_legacy):
                    continue
                by_second = zip(
                    accumulate(self._spread(ours, traffic.modern)),
                    accumulate(self._spread(theirs, traffic.legacy)),
                    strict=True,
                )
                for second, (more, more_legacy) in enumerate(by_second, 1):
                    seconds = full * MINUTE + second
                    if known + more >= self._least(seconds, known_legacy + more_legacy):
                        yield hour * HOUR + minute * MINUTE + second
                        modern, legacy = [], []
                        break

    def false_trips(self, days: int) -> float:
        """In a hundred days."""
        return sum(1 for _ in self.trips_at(days * 24)) * 100 / days

    def seconds_until_found(self, times: int) -> list[float]:
        """From a change of the flag on; infinite after an hour."""
        found = []
        for _ in range(times):
            found.append(float(next(self.trips_at(1), math.inf)))
        return sorted(found)


def set_up() -> None:
    """The functions stand beside models, which need settings and nothing else."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()


def rule_of(chance: float) -> Trips:
    """Modern against legacy, or against the limit where legacy has nothing."""
    from django_strangler.evidence.reading import Seen
    from django_strangler.evidence.statistics import Rule, fails_more, fails_too_often

    rule = Rule(chance=chance)

    def trips(checked: int, failed: int, legacy: int, legacy_failed: int) -> bool:
        modern = Seen(checked=checked, failed=failed)
        if legacy:
            other = Seen(checked=legacy, failed=legacy_failed)
            return fails_more(rule, "simulated", modern, other) is not None
        return fails_too_often(rule, "simulated", modern) is not None

    return trips


def main(days: int) -> None:
    from django_strangler.evidence.statistics import Rule

    shipped, intervals = rule_of(Rule().chance), rule_of(math.inf)
    print("Seconds until found, from a change of the flag on (median, 95 %).")
    print("modern/s  legacy/s  fails      intervals   shipped")
    for modern, legacy in ((50, 50), (50, 950)):
        for worse in (2, 3, 5):
            traffic = Traffic(modern=modern, legacy=legacy, failing=1, worse=worse)
            cells = []
            for trips in (intervals, shipped):
                found = Simulation(trips, traffic).seconds_until_found(TIMES)
                cells.append(
                    f"{found[TIMES // 2]:5.0f} {found[TIMES * 95 // 100]:5.0f}"
                )
            print(f"{modern:8} {legacy:9}  1→{worse} %  ", *cells, flush=True)
    print("False trips in 100 days, both sides alike, the flag changed every hour.")
    print("modern/s  legacy/s  fails      intervals   shipped")
    for modern, legacy, failing in FALSE:
        traffic = Traffic(modern=modern, legacy=legacy, failing=failing)
        cells = [
            f"{Simulation(intervals, traffic).false_trips(max(days // 50, 1)):11.0f}",
            f"{Simulation(shipped, traffic).false_trips(days):9.1f}",
        ]
        print(f"{modern:8} {legacy:9}  {failing:4} %  ", *cells, flush=True)


if __name__ == "__main__":
    set_up()
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
