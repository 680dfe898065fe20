"""What the board shows of couplings, and what moves are told of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from django_strangler.monitoring.board import EVERY, Shown

from . import ratchet
from .couplings import OF_TABLES, Edge


def couplings() -> Iterator[Shown]:
    """Those of each domain, as the ratchet has them: nothing is surveyed here."""
    known = ratchet.read(ratchet.path())
    if known is None:
        yield Shown(
            domain=EVERY,
            name="couplings",
            left=("Nobody has looked for couplings into it.",),
            next="Look for couplings: manage.py strangler_survey --update",
        )
        return
    edges = [each for each in known if each.source != each.target]
    for domain in sorted(
        {name for each in edges for name in (each.source, each.target)}
    ):
        into = sorted(each for each in edges if each.target == domain)
        out = sum(each.source == domain for each in edges)
        yield Shown(
            domain=domain,
            name="couplings",
            text=f"{len(into)} into it, {out} out of it",
            left=(_said(domain, into),) if into else (),
            next=f"See what to cut: manage.py strangler_survey --domain {domain}"
            if into
            else "",
        )


def _said(domain: str, into: list[Edge]) -> str:
    sources = Counter(each.source for each in into)
    by_source = ", ".join(
        f"{number} from {name}" for name, number in sources.most_common(4)
    )
    first = next((e for e in into if "/" in e.file), into[0])
    return (
        f"Couplings into {domain}: {len(into)} ({by_source}); such as "
        f"{first.kind.value} in {first.file}: {first.what}."
    )


def ties(models: Collection[str]) -> Iterator[str]:
    """
    What ties these models' tables to those that stay, with the lines.

    But for what a person has given a reason, in the ratchet.
    """
    from .observed import path, read
    from .surveying import survey
    from .territory import Territory

    wanted = {each.lower() for each in models}
    territory = Territory()
    tables = {
        table
        for table, model in territory.tables.items()
        if model._meta.label_lower in wanted
    }
    seen, known = read(path()), ratchet.read(ratchet.path()) or {}
    accepted = {edge for edge, said in known.items() if said.reason}
    for each in sorted({*survey().couplings, *(seen.couplings if seen else ())}):
        if (
            each.kind in OF_TABLES
            and each.edge not in accepted
            and _is_about(each.what, wanted, tables)
        ):
            yield (
                f"{each.place}: {each.kind.value} from {each.source} to {each.target}: "
                f"{each.what}"
            )


def _is_about(what: str, models: Collection[str], tables: Collection[str]) -> bool:
    """Whether one end of it is among these, and the other is not."""
    ends = [each.strip() for part in what.split(",") for each in part.split(":")]
    inside = [
        end in tables
        or end.partition(".")[0] in tables
        or any(f"{end.lower()}.".startswith(f"{model}.") for model in models)
        for end in ends
    ]
    return any(inside) and (len(ends) == 1 or not all(inside))
