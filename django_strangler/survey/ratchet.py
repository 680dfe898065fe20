"""The ratchet: couplings that are known, in a file that may only shrink."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from django_strangler.exceptions import StranglerError

from .couplings import OBSERVED, Coupling, Edge, Kind
from .territory import base_dir

FILE = "strangler_survey.json"
_KEYS = ("from", "to", "kind", "file", "what")


class BadRatchet(StranglerError):
    """The ratchet cannot be read."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a person wrote to a coupling."""

    reason: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """What has changed since the ratchet was written."""

    new: list[Coupling] = field(default_factory=list)
    gone: list[Edge] = field(default_factory=list)


def path() -> Path:
    """Where it lies."""
    return base_dir() / FILE


def read(file: Path) -> dict[Edge, Accepted] | None:
    """The known couplings, or ``None`` if there is no ratchet yet."""
    try:
        text = file.read_text()
    except FileNotFoundError:
        return None
    try:
        found = {_edge(line): _accepted(line) for line in json.loads(text)["couplings"]}
    except (ValueError, KeyError, TypeError) as error:
        raise BadRatchet(
            f"{file} cannot be read: {error!r}. If a merge left its marks, keep the "
            "lines of both sides and run: manage.py strangler_survey --update"
        ) from error
    return found


def write(file: Path, known: Mapping[Edge, Accepted]) -> None:
    """Sorted, one coupling a line, so that merges and reviews see single ones."""
    lines = ",\n".join(
        json.dumps(plain(edge, known[edge]), ensure_ascii=False)
        for edge in sorted(known)
    )
    file.write_text(f'{{"version": 1, "couplings": [\n{lines}\n]}}\n')


def compare(
    known: Mapping[Edge, Accepted],
    found: Iterable[Coupling],
    looked_for: frozenset[Kind],
) -> Difference:
    """What is new, and what is no more of all that was looked for."""
    found = list(found)
    edges = {each.edge for each in found}
    first: dict[Edge, Coupling] = {}
    for each in found:
        first.setdefault(each.edge, each)
    return Difference(
        new=[each for edge, each in first.items() if edge not in known],
        gone=[e for e in sorted(known) if e not in edges and e.kind in looked_for],
    )


def stale(difference: Difference) -> list[Edge]:
    """What has to be removed: tests that did not run show nothing of what ran."""
    return [each for each in difference.gone if each.kind not in OBSERVED]


def plain(edge: Edge, accepted: Accepted = Accepted()) -> dict[str, str]:
    """As JSON has it."""
    said = {"reason": accepted.reason, "owner": accepted.owner}
    texts = [*edge[:2], edge.kind.value, *edge[3:]]
    return {
        **dict(zip(_KEYS, texts, strict=True)),
        **{key: value for key, value in said.items() if value},
    }


def _edge(line: Mapping[str, str]) -> Edge:
    source, target, kind, file, what = (str(line[key]) for key in _KEYS)
    return Edge(source, target, Kind(kind), file, what)


def _accepted(line: Mapping[str, str]) -> Accepted:
    return Accepted(line.get("reason", ""), line.get("owner", ""))
