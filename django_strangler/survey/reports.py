"""Reports: the same for terminals, for programs, and as a page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from django.template import Context, Engine

from . import advice, history, ratchet
from .couplings import OBSERVED, Coupling, Edge
from .numbers import Numbers, numbers
from .observed import Observed
from .ratchet import Accepted, Difference
from .surveying import Survey

SIZE = 640  # Of the map.


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All there is to tell."""

    survey: Survey  # With what was observed.
    numbers: Mapping[str, Numbers]
    order: list[str]
    circles: list[Coupling] | None
    known: Mapping[Edge, Accepted] | None
    difference: Difference


def report(survey: Survey, seen: Observed | None, sampled: set[Coupling]) -> Report:
    """Put a survey together with what ran and with what was known."""
    known_domains = set(survey.domains)
    observed = {
        each
        for each in {*(seen.couplings if seen else ()), *sampled}
        if {each.source, each.target} <= known_domains
    }
    looked_for = survey.looked_for | (OBSERVED if seen else frozenset())
    survey = replace(
        survey,
        couplings=sorted({*survey.couplings, *observed}),
        looked_for=looked_for,
    )
    known = ratchet.read(ratchet.path())
    return Report(
        survey=survey,
        numbers=numbers(survey, seen),
        order=advice.order(survey.domains, survey.couplings),
        circles=advice.circles(survey.couplings),
        known=known,
        difference=ratchet.compare(known or {}, survey.couplings, looked_for),
    )


def of_domain(report: Report, domain: str | None) -> list[Coupling]:
    """All couplings, or those that one domain has."""
    return [
        each
        for each in report.survey.couplings
        if domain is None or domain in (each.source, each.target)
    ]


def text(report: Report, domain: str | None) -> Iterator[str]:
    """For a terminal."""
    survey = report.survey
    if domain is not None:
        yield from _text_of(report, domain)
        return
    edges = {each.edge for each in survey.couplings}
    yield f"Domains: {len(survey.domains)}. Couplings: {len(edges)}: {_kinds(edges)}"
    yield ""
    width = max(len("domain"), *map(len, survey.domains)) if survey.domains else 0
    yield f"{'domain':{width}}  {'into':>5} {'out':>5} {'tables':>6} {'score':>5}"
    for name, each in sorted(report.numbers.items(), key=lambda n: -n[1].into):
        tables = len(survey.domains[name].tables)
        yield f"{name:{width}}  {each.into:5} {each.out:5} {tables:6} {each.score:5}"
    yield ""
    yield f"Extract in this order: {', '.join(report.order)}"
    if report.circles:
        yield f"Free of circles once these imports are cut ({len(report.circles)}):"
        for coupling in report.circles[:10]:
            yield f"  {coupling.place}: {coupling.what}"
    if not survey.looked_for & OBSERVED:
        yield "Joins and transactions were not looked for: pytest --strangler-survey"
    yield "See one: --domain NAME; all on a page: --html FILE"


def _text_of(report: Report, domain: str) -> Iterator[str]:
    has, number = report.survey.domains[domain], report.numbers[domain]
    yield f"{domain}: couplings: {number.into} into it, {number.out} out of it"
    for name, things in _inventory(has):
        yield f"  {name}: {', '.join(things)}"
    pairs = ("foreign_keys", "joins", "transactions", "tables")
    shares = ", ".join(
        "{1} of {2} {0}".format(name.replace("_", " "), *getattr(number, name))
        for name in pairs
    )
    yield f"  crossing: {shares}; score {number.score}"
    yield "To cut, and what could stand there instead:"
    for each in of_domain(report, domain):
        ends = f"{each.source} -> {each.target}"
        yield f"  {each.place}: {ends}, {each.kind.value}: {each.what}"
        yield f"    {advice.replacement(each, report.survey.domains)}"


def _kinds(edges: Iterable[Edge]) -> str:
    counted = Counter(each.kind.value for each in edges)
    return ", ".join(f"{number} {kind}" for kind, number in counted.most_common())


def _inventory(domain: Any) -> Iterator[tuple[str, list[str]]]:
    for name, things in asdict(domain).items():
        if isinstance(things, list) and things:
            yield name, things


def plain(report: Report, domain: str | None = None) -> dict[str, Any]:
    """For programs."""
    new = {each.edge for each in report.difference.new}
    domains = report.survey.domains
    return {
        "domains": {
            name: {
                **asdict(domains[name]),
                "numbers": {**asdict(each), "score": each.score},
            }
            for name, each in report.numbers.items()
            if domain in (None, name)
        },
        "couplings": [
            {
                "from": each.source,
                "to": each.target,
                "kind": each.kind.value,
                "file": each.file,
                "line": each.line,
                "what": each.what,
                "instead": advice.replacement(each, domains),
                "new": report.known is not None and each.edge in new,
            }
            for each in of_domain(report, domain)
        ],
        "gone": [ratchet.plain(each) for each in ratchet.stale(report.difference)],
        "order": report.order,
        "looked_for": sorted(each.value for each in report.survey.looked_for),
        "troubles": report.survey.troubles,
    }


def html(report: Report) -> str:
    """A page that needs nothing else."""
    folder = Path(__file__).parent / "templates"
    template = Engine(dirs=[str(folder)]).get_template("strangler_survey/report.html")
    domains, edges = report.survey.domains, {e.edge for e in report.survey.couplings}
    parts = []
    for name, number in report.numbers.items():
        groups: dict[str, list[tuple[Coupling, str]]] = {}
        for each in of_domain(report, name):
            title = f"{each.source} → {each.target}: {each.kind.value}"
            instead = advice.replacement(each, domains)
            groups.setdefault(title, []).append((each, instead))
        inventory = list(_inventory(domains[name]))
        parts.append((name, number, inventory, groups.items()))
    context = {
        "domains": parts,
        "total": len(edges),
        "kinds": _kinds(edges),
        "order": report.order,
        "circles": report.circles,
        "trend": history.trend(ratchet.path())[-10:],
        "observed": bool(report.survey.looked_for & OBSERVED),
        "size": SIZE,
        **_map(report),
    }
    return template.render(Context(context))


def _map(report: Report) -> dict[str, Any]:
    """Domains on a circle, and a line for each pair that is tied."""
    names = sorted(report.numbers, key=lambda name: (report.numbers[name].into, name))
    middle, radius = SIZE / 2, SIZE / 2 - 70
    at = {
        name: (
            round(middle + radius * math.sin(math.tau * place / len(names)), 1),
            round(middle - radius * math.cos(math.tau * place / len(names)), 1),
        )
        for place, name in enumerate(names)
    }
    pairs = Counter(
        (edge.source, edge.target)
        for edge in {each.edge for each in report.survey.couplings}
        if edge.source != edge.target
    )
    return {
        "nodes": [
            {
                "name": n,
                "x": x,
                "y": y,
                "r": round(6 + 3 * math.log1p(report.numbers[n].into), 1),
            }
            for n, (x, y) in at.items()
        ],
        "lines": [
            {
                "from": one,
                "to": other,
                "number": number,
                "width": round(0.6 + math.log1p(number) * 0.8, 1),
                # Bent towards the middle, each way on a side of its own.
                "path": f"M{at[one][0]} {at[one][1]} Q{_bend(at[one], at[other])} "
                f"{at[other][0]} {at[other][1]}",
            }
            for (one, other), number in sorted(pairs.items())
        ],
    }


def _bend(one: tuple[float, float], other: tuple[float, float]) -> str:
    x = (one[0] + other[0] + SIZE / 2) / 3 - (other[1] - one[1]) * 0.08
    y = (one[1] + other[1] + SIZE / 2) / 3 + (other[0] - one[0]) * 0.08
    return f"{x:.1f} {y:.1f}"
