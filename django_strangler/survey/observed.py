"""What was observed, between a run of the tests and the survey: a file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from .couplings import Coupling, Kind
from .observing import Totals
from .ratchet import BadRatchet
from .territory import base_dir

FILE = "strangler_survey_observed.json"


@dataclass(frozen=True, slots=True)
class Observed:
    """Couplings that were seen, and what there was in all."""

    couplings: set[Coupling] = field(default_factory=set)
    totals: Totals = field(default_factory=Totals)


def path() -> Path:
    """Where the tests leave it."""
    return base_dir() / FILE


def plain(couplings: Iterable[Coupling], totals: Totals) -> dict[str, Any]:
    """As JSON, to hand from process to process."""
    return {
        "couplings": [[*each[:2], each.kind.value, *each[3:]] for each in couplings],
        "totals": {e.name: dict(getattr(totals, e.name)) for e in fields(totals)},
    }


def merged(parts: Iterable[Mapping[str, Any]]) -> Observed:
    """What several processes have seen."""
    found = Observed()
    for part in parts:
        for source, target, kind, *rest in part["couplings"]:
            found.couplings.add(Coupling(source, target, Kind(kind), *rest))
        for name, counted in part["totals"].items():
            getattr(found.totals, name).update(Counter(counted))
    return found


def write(file: Path, seen: Observed) -> None:
    """For the next survey."""
    found = plain(sorted(seen.couplings), seen.totals)
    file.write_text(json.dumps(found, indent=1, ensure_ascii=False))


def read(file: Path) -> Observed | None:
    """What the last run of the tests saw; ``None`` if there was none."""
    try:
        return merged([json.loads(file.read_text())])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise BadRatchet(f"{file} cannot be read: {error!r}. Delete it.") from error
