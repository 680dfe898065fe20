"""Advice: what to extract first, and what would replace each tie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .couplings import KEYS, WRITES, Coupling, Kind
from .inventory import Domain
from .numbers import counted
from .territory import model_at

_READING = (Kind.ACCESSOR, Kind.SQL, Kind.JOIN)


def order(domains: Mapping[str, Domain], couplings: Iterable[Coupling]) -> list[str]:
    """
    What to extract first: what no foreign key of others points at, with fewest ties.

    What is extracted is out of the way for those that follow.
    """
    left = {name for name, domain in domains.items() if not domain.is_shared}
    ties, found = [each for each in couplings if each.source != each.target], []
    while left:
        ties = [each for each in ties if {each.source, each.target} <= left]
        keys = counted((each for each in ties if each.kind in KEYS), "target")
        into = counted(ties, "target")
        found.append(min(left, key=lambda name: (keys[name], into[name], name)))
        left.remove(found[-1])
    return found


def replacement(coupling: Coupling, domains: Mapping[str, Domain]) -> str:
    """What could stand where the tie is."""
    source, target = domains[coupling.source], domains[coupling.target]
    kind, name = coupling.kind, coupling.target
    if target.is_shared:
        return f"Both take a copy of {coupling.what}, or a library holds it."
    if kind is Kind.TYPES:
        return f"A protocol of {source.name}'s own: nothing of it runs."
    if kind in (Kind.URL, Kind.TEMPLATE) and not _is_row(coupling):
        prefix = _prefix(target)
        return (
            f'route("{name}", "{prefix}", service="{name}") keeps the address.'
            if kind is Kind.URL and prefix
            else f"A text or fragment that {name} gives, by service({name!r})."
        )
    if kind in KEYS or kind is Kind.GENERIC:
        return (
            "The id alone, db_constraint=False; what is shown of it, from its events."
        )
    if kind in _READING or kind is Kind.TEMPLATE:
        return f"A table of {source.name}'s own, fed by events of {name}."
    if kind in WRITES or kind is Kind.GET:
        return (
            f"An event from the outbox that {name} handles; a saga, if it may refuse."
        )
    if kind in (Kind.SIGNAL, Kind.FIRED_INSIDE, Kind.FIRED_OUTSIDE):
        events = target.heard.get(source.name) or [f"{name}.changed"]
        return f"@subscribe({events[0]!r}) in {source.name} instead of the signal."
    if model_at(coupling.what) is not None:
        return f"Its id; a table of {source.name}'s own, fed by events of {name}."
    if heard := source.heard.get(name):
        return f"An event; {name} hears these of {source.name}: {', '.join(heard)}."
    return f"service({name!r}) for an answer; an event and a contract for an effect."


def _is_row(coupling: Coupling) -> bool:
    """A template that reads a model's fields, and not one that names a template."""
    return "/" not in coupling.what and not coupling.what.startswith(("tags ", "url "))


def _prefix(domain: Domain) -> str:
    first = {url.split("/")[1] for url in domain.urls if url.count("/") > 1}
    return f"/{first.pop()}/" if len(first) == 1 else ""


def circles(couplings: Iterable[Coupling]) -> list[Coupling] | None:
    """Imports to remove, and no domain needs itself by way of others; with grimp."""
    try:
        import grimp  # The extra "survey".
    except ImportError:
        return None
    graph, numbers, found = grimp.ImportGraph(), dict[str, str](), {}
    graph.add_module("all")
    for each in couplings:
        if each.kind is not Kind.IMPORT:
            continue
        ends = []
        for name, inner in ((each.source, each.file), (each.target, each.what)):
            domain = numbers.setdefault(name, f"all.d{len(numbers)}")
            module = numbers.setdefault(f"{name}/{inner}", f"{domain}.m{len(numbers)}")
            graph.add_module(domain)
            graph.add_module(module)
            ends.append(module)
        graph.add_import(importer=ends[0], imported=ends[1])
        found[ends[0], ends[1]] = each
    breakers = graph.nominate_cycle_breakers("all")
    return sorted(found[pair] for pair in breakers if pair in found)
