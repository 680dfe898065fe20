"""What a run has left behind: all that the judge gets to see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(kw_only=True)
class History:
    """Lists of plain rows, which a file can hold; all times are of one clock."""

    seconds: float = 0.0
    is_control: bool = False  # Nothing was to be moved.
    tries: list[Row] = field(default_factory=list)  # at took who op kind status side
    orders: list[Row] = field(
        default_factory=list
    )  # What each customer wanted, and got.
    complaints: list[Row] = field(default_factory=list)
    flags: list[Row] = field(default_factory=list)  # at until name percentage enabled
    phases: list[Row] = field(default_factory=list)  # at name
    faults: list[Row] = field(default_factory=list)  # at ended name proof
    lags: list[Row] = field(default_factory=list)  # at pending
    notes: dict[str, Any] = field(default_factory=dict)  # What the team has measured.
    payments: list[Row] = field(default_factory=list)  # The databases, in the end.
    refunds: list[Row] = field(default_factory=list)
    ledger: list[Row] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)  # Old tables of payments.
    users: list[Row] = field(default_factory=list)
    bank: list[Row] = field(default_factory=list)
    post: list[Row] = field(default_factory=list)  # Mails by the old path.
    mails: list[Row] = field(default_factory=list)  # Mails by the service.

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(vars(self), default=str))

    @classmethod
    def load(cls, path: Path) -> History:
        return cls(**json.loads(path.read_text()))


def lines(path: Path) -> Iterator[Row]:
    """The rows of a file, one a line; the last one may be half written."""
    if path.exists():
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)
