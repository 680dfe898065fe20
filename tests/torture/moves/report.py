"""What a run has shown: troubles, and figures."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .ledger import COMMITTED, REFUSED, UNDONE, Line

CALM, FIRE, LONG = "undisturbed", "under fire", "beside a transaction of 10 s"
EXIT = {"GOOD": 0, "BAD": 1, "VOID": 2}


@dataclass(slots=True, kw_only=True)
class Window:
    """From when to when somebody switched."""

    began: float
    ended: float
    goal: str
    how: str

    def pause(self, lines: Iterable[Line]) -> float:
        """The longest wait of any writer that touches it."""
        return max(
            (
                line.waited
                for line in lines
                if line.at < self.ended and line.at + line.waited > self.began
            ),
            default=0.0,
        )


@dataclass(slots=True)
class Report:
    about: str
    wanted: int  # Kills.
    kills: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    void: Counter[str] = field(default_factory=Counter)
    windows: list[Window] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    rates: dict[str, float] = field(default_factory=dict)
    rows: int = 0
    checks: int = 0
    false_differences: int = 0

    @property
    def word(self) -> str:
        if self.troubles:
            return "BAD"
        return "GOOD" if self.kills >= self.wanted else "VOID"

    @property
    def lag_p99(self) -> float:
        return sorted(self.lags)[int(len(self.lags) * 0.99)]

    def pauses(self, how: str, lines: Sequence[Line]) -> list[float]:
        """Of each such switch, the longest wait of any writer that uses the helper."""
        well = [line for line in lines if line.kind != "raw"]
        return [window.pause(well) for window in self.windows if window.how == how]

    def text(self, lines: Sequence[Line]) -> str:
        """For people."""
        outcomes = Counter(line.outcome for line in lines)
        raw = [line for line in lines if line.kind == "raw"]
        well = [line for line in lines if line.kind != "raw"]
        retried = Counter(
            line.error.partition(":")[0]
            for line in lines
            if line.error and line.outcome == UNDONE
        )
        longest = max((line.waited for line in well), default=0.0)
        found = [
            self.about,
            f"{self.kills} kills and {sum(self.faults.values())} faults that bit "
            f"({sum(self.void.values())} did not): "
            + ", ".join(f"{name} {n}" for name, n in sorted(self.faults.items())),
            f"{outcomes[COMMITTED]:,} transactions committed, {outcomes[UNDONE]:,} "
            f"undone (of those, after an error: {dict(retried)}); past the helper "
            f"{sum(line.outcome == COMMITTED for line in raw):,} committed and "
            f"{sum(line.outcome == REFUSED for line in raw):,} refused",
            f"{self.rows:,} rows compared at {self.checks} times, by the judge; "
            f"{self.false_differences} differences that the app saw",
            f"longest wait of a writer: {longest:.2f} s",
        ]
        for how in (CALM, LONG, FIRE):
            if pauses := self.pauses(how, lines):
                found.append(
                    f"pause at {len(pauses)} switches, {how}: median "
                    f"{1000 * statistics.median(pauses):.0f} ms, max "
                    f"{1000 * max(pauses):.0f} ms"
                )
        found += [f"{name}: {rate:,.0f}" for name, rate in self.rates.items()]
        if self.lags:
            found.append(
                f"lag (age of the oldest mark, {len(self.lags)} looks): median "
                f"{1000 * statistics.median(self.lags):.0f} ms, p99 "
                f"{1000 * self.lag_p99:.0f} ms, max {1000 * max(self.lags):.0f} ms"
            )
        return "\n".join([*found, *self.troubles, self.word])
