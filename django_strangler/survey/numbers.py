"""Numbers: how tied a domain is, from what was counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from .couplings import Coupling, Kind
from .observed import Observed
from .surveying import Survey


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The numbers of one domain; of each pair, first what crosses it, then all."""

    into: int  # Couplings that others have into it.
    out: int
    foreign_keys: tuple[int, int]
    joins: tuple[int, int]  # Statements; (0, 0) if none were observed.
    transactions: tuple[int, int]
    tables: tuple[int, int]  # Written by others.

    @property
    def score(self) -> int:
        """From 0, free, to 100: the mean share of what crosses, of what was counted."""
        pairs = (self.foreign_keys, self.joins, self.transactions, self.tables)
        shares = [min(crossing / all, 1) for crossing, all in pairs if all]
        return round(100 * sum(shares) / len(shares)) if shares else 0


def numbers(survey: Survey, seen: Observed | None) -> dict[str, Numbers]:
    """Those of each domain."""
    totals = (seen or Observed()).totals
    ties = [each for each in survey.couplings if each.source != each.target]
    into, out = counted(ties, "target"), counted(ties, "source")
    keys = counted(
        (each for each in ties if each.kind in (Kind.FOREIGN_KEY, Kind.DATABASE)),
        "source",
    )
    written = Counter(
        target
        for target, _ in {(e.target, e.what) for e in ties if e.kind is Kind.WRITE}
    )
    return {
        name: Numbers(
            into=into[name],
            out=out[name],
            foreign_keys=(
                keys[name],
                max(survey.foreign_keys.get(name, 0), keys[name]),
            ),
            joins=(totals.crossing_joins[name], totals.joins[name]),
            transactions=(
                totals.crossing_transactions[name],
                totals.transactions[name],
            ),
            tables=(written[name], len(domain.tables)),
        )
        for name, domain in survey.domains.items()
    }


def counted(couplings: Iterable[Coupling], side: str) -> Counter[str]:
    """By domain, ties as the ratchet counts them: once, on however many lines."""
    return Counter(getattr(edge, side) for edge in {each.edge for each in couplings})
