"""What writers know to be committed, and what must be there because of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

COMMITTED = "committed"
UNDONE = "undone"  # Rolled back, by itself or by an error before COMMIT.
REFUSED = "refused"  # By the fence.


@dataclass(slots=True, kw_only=True)
class Line:
    """One transaction."""

    token: str
    kind: str  # Of the writer.
    at: float = 0.0  # When it began, on the machine's monotonic clock,
    waited: float = 0.0  # and how long it took until it was let in.
    took: float = 0.0
    outcome: str = UNDONE
    error: str = ""
    is_fault: bool = False  # An error that no writer may see.
    balances: dict[str, int] = field(default_factory=dict)  # By account.
    bulk: tuple[int, int, int] | None = None  # From, to, how much.
    put: dict[str, tuple[int, int]] = field(default_factory=dict)  # Tags.
    drop: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @property
    def rows(self) -> int:
        """How many it changes."""
        first, last, _ = self.bulk or (1, 0, 0)
        tags = len(set(self.put) | set(self.drop))
        return 1 + len(self.balances) + last - first + 1 + tags


def read(folder: Path) -> Iterator[Line]:
    """All lines; those of one writer in their order."""
    for path in sorted(folder.glob("*.ledger")):
        for text in path.read_text().splitlines():
            yield Line(**json.loads(text))


@dataclass(slots=True)
class Expected:
    """What has to be there."""

    tokens: set[str] = field(default_factory=set)
    balances: Counter[int] = field(default_factory=Counter)
    bulks: Counter[int] = field(default_factory=Counter)
    tags: dict[str, tuple[int, int]] = field(default_factory=dict)


def expected(lines: Iterable[Line]) -> Expected:
    """The sum of what was committed."""
    found, steps = Expected(), Counter[int]()
    for line in lines:
        if line.outcome != COMMITTED:
            continue
        found.tokens.add(line.token)
        for number, amount in line.balances.items():
            found.balances[int(number)] += amount
        if line.bulk is not None:
            first, last, amount = line.bulk
            steps[first] += amount
            steps[last + 1] -= amount
        for code in line.drop:
            found.tags.pop(code, None)
        found.tags.update({code: tuple(tag) for code, tag in line.put.items()})
    amount = 0
    for number in range(1, max(steps, default=0)):
        amount += steps[number]
        found.bulks[number] = amount
    return found
