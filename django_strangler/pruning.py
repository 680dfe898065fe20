"""Pruning: rows that age are registered here, and ``prune_outbox`` walks all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TypeAlias

# Deletes in small batches and yields how many rows after each. It is given the alias
# that the user names as the outbox's, or None; the router knows all other tables.
Prune: TypeAlias = Callable[["str | None"], Iterator[int]]


def register(what: str, prune: Prune) -> None:
    """Let this be pruned; ``what`` comes before a count: "handled events deleted"."""
    _prunes[what] = prune


def registered() -> Mapping[str, Prune]:
    """How to prune, by what is said of it."""
    return MappingProxyType(_prunes)


def prune(database: str | None = None) -> int:
    """Prune all of it; says how many rows."""
    return sum(sum(prune(database)) for prune in _prunes.values())


_prunes: dict[str, Prune] = {}
