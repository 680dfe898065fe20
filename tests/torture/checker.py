"""
The verdict, from outside evidence only.

What was committed (the business rows: how often each key changed) against what the
witness saw (a stream bound to the exchange: every copy, in order). Nothing that the
outbox says of itself is believed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Verdict:
    """What is wrong, as lists of (key, number); all empty is as it should be."""

    events: int = 0
    copies: int = 0
    lost: list[tuple[str, int]] = field(default_factory=list)
    invented: list[tuple[str, int]] = field(default_factory=list)
    out_of_order: list[tuple[str, int]] = field(default_factory=list)
    duplicates: int = 0
    most_duplicates: int = 0  # What G8 allows for the faults there were.
    pending: int = 0
    missed_by_witness: int = 0  # The broker's loss: they are in the work queue.
    void: list[str] = field(default_factory=list)  # Faults that did not bite.

    @property
    def is_good(self) -> bool:
        """Whether every guarantee held."""
        return not (
            self.lost
            or self.invented
            or self.out_of_order
            or self.pending
            or self.duplicates > self.most_duplicates
        )

    def __str__(self) -> str:
        return (
            f"{self.events} events, {self.copies} copies: {len(self.lost)} lost, "
            f"{len(self.invented)} invented, {len(self.out_of_order)} out of order, "
            f"{self.duplicates} duplicates (at most {self.most_duplicates}), "
            f"{self.pending} pending; {self.missed_by_witness} only in the work queue"
        )


def check(
    committed: Mapping[str, int],
    witnessed: Iterable[tuple[str, int]],
    *,
    most_duplicates: int,
    pending: int = 0,
    elsewhere: Collection[tuple[str, int]] = (),
) -> Verdict:
    """
    Compare how many numbers of each key were committed with what the witness saw.

    The numbers of a key count up from 1 under a row lock, so first copies must too.
    What the broker lost of the witness when it was killed may be ``elsewhere``, in a
    queue of its own: then it had been delivered, and the relay is not to blame.
    """
    verdict = Verdict(most_duplicates=most_duplicates, pending=pending)
    copies: Counter[tuple[str, int]] = Counter()
    last: dict[str, int] = defaultdict(int)
    for key, number in witnessed:
        verdict.copies += 1
        copies[key, number] += 1
        if copies[key, number] > 1:
            continue
        if number > committed.get(key, 0) or number < 1:
            verdict.invented.append((key, number))
        elif number < last[key]:
            verdict.out_of_order.append((key, number))
        last[key] = max(last[key], number)
    verdict.events = sum(committed.values())
    unseen = [
        (key, number)
        for key, count in committed.items()
        for number in range(1, count + 1)
        if (key, number) not in copies
    ]
    verdict.lost = [pair for pair in unseen if pair not in elsewhere]
    verdict.missed_by_witness = len(unseen) - len(verdict.lost)
    verdict.duplicates = sum(count - 1 for count in copies.values())
    return verdict
