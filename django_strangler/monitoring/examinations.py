"""Examinations: what the doctor asks the apps after it has looked at the core."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from django_strangler.findings import Finding, Level

Find: TypeAlias = Callable[[], Iterable[Finding]]

__all__ = ["Find", "Finding", "Level", "register", "registered"]


def register(part: str, find: Find) -> None:
    """Let the doctor look at this part; ``find`` may raise, which is a finding too."""
    _examinations[part] = find


def registered() -> Mapping[str, Find]:
    """How to look at each part, in the order of registration."""
    return MappingProxyType(_examinations)


_examinations: dict[str, Find] = {}
