"""What was seen from outside, as values; written to a file, and read again."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


class Copy(NamedTuple):
    """One message in a queue."""

    event: str  # Its id.
    name: str  # A key, or the name of an event outside the order.
    number: int  # Counted from 1 per key; 0 outside the order.


class Parking(NamedTuple):
    """An event was set aside."""

    event: str
    type: str
    reason: str
    window: int  # Of the relay that had its lane.
    justified: bool  # Unroutable, and there was no route just then.


class Wait(NamedTuple):
    """An event was seen pending from one moment to another, in seconds of the run."""

    began: float
    ended: float
    row: int
    type: str


class Left(NamedTuple):
    """A row that was not confirmed when the run ended."""

    event: str
    type: str
    state: str  # "pending", "parked" or "not due".


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    name: str
    began: float
    ended: float
    proof: str = ""  # What shows that it bit; empty: nothing does.
    hit: tuple[int, ...] = ()  # Windows of the relays that lost what was unmarked.
    outage: bool = False  # Database, broker or network were away.


@dataclass(slots=True, kw_only=True)
class History:
    """All evidence of one run."""

    about: dict[str, Any] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    counted: Mapping[str, int] = field(default_factory=dict)  # Numbers per key.
    claimed: list[str] = field(default_factory=list)  # Names outside the order.
    parked: list[Parking] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)  # The long ones.
    left: list[Left] = field(default_factory=list)
    drained: float = 0.0  # Seconds after the last fault.
    effects: Mapping[str, int] = field(default_factory=dict)  # By event.
    stream: list[Copy] = field(default_factory=list)
    work: list[Copy] = field(default_factory=list)
    sick: list[Copy] = field(default_factory=list)  # In queues that were sick.

    def write(self, path: Path) -> None:
        """One JSON value per line, compressed."""
        with gzip.open(path, "wt") as file:
            for name, value in self._lines():
                file.write(json.dumps([name, value], separators=(",", ":")) + "\n")

    def _lines(self) -> Any:
        yield "about", self.about
        for fault in self.faults:
            yield "faults", asdict(fault)
        yield "counted", dict(self.counted)
        yield "effects", dict(self.effects)
        yield "drained", self.drained
        yield "claimed", self.claimed
        for name in ("parked", "waits", "left", "stream", "work", "sick"):
            for value in getattr(self, name):
                yield name, value

    @classmethod
    def read(cls, path: Path) -> History:
        history = cls()
        rows = {"parked": Parking, "waits": Wait, "left": Left}
        rows |= {"stream": Copy, "work": Copy, "sick": Copy}
        with gzip.open(path, "rt") as file:
            for line in file:
                name, value = json.loads(line)
                if name in rows:
                    getattr(history, name).append(rows[name](*value))
                elif name == "faults":
                    value["hit"] = tuple(value["hit"])
                    history.faults.append(Fault(**value))
                else:
                    setattr(history, name, value)
        return history
