"""Accepted breaks: which rule, where, why, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from .exceptions import CannotJudge
from .snapshots import Store

FILE = "accepted.json"


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A break that a person answers for."""

    type: str
    rule: str
    path: str
    reason: str
    until: date


def accepted(store: Store) -> dict[tuple[str, str, str], Accepted]:
    """Those in the file, by type, rule and path."""
    path = store.root / FILE
    if not path.exists():
        return {}
    found = {}
    given = store.read(path)
    for number, entry in enumerate(given if isinstance(given, list) else [given]):
        try:
            until = date.fromisoformat(entry["until"])
            one = Accepted(**{**entry, "until": until})
            if not one.reason.strip():
                raise ValueError("the reason is empty")
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise CannotJudge(
                f"{path} has an entry {number} that accepts nothing ({error}). It is a "
                "list of objects with type, rule, path, reason and until, a day."
            ) from error
        found[one.type, one.rule, one.path] = one
    return found
