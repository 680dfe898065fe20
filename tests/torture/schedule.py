"""Which fault comes when: the seed decides, and repeats it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    pause: float  # Seconds before it.
    chance: random.Random  # For choices within the fault.


def steps(kinds: Sequence[str], seed: int) -> Iterator[Step]:
    """
    Without end: round by round, each kind once, in an order of the round's own.

    In whatever order the kinds are given; without any, there is nothing.
    """
    chance = random.Random(seed)
    while kinds:
        for name in chance.sample(sorted(kinds), len(kinds)):
            yield Step(name, chance.uniform(0.2, 1.2), random.Random(chance.random()))
