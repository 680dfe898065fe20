"""
The nemesis: what is done to processes, servers, networks, clocks and tables.

A fault is a function of the stage and a chance. It does its harm, mends it, and returns
what proves that it bit, and the windows of those relays that it really hit.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.torture.stage import Stage


@dataclass(frozen=True, slots=True)
class Bite:
    proof: str = ""  # In words; empty: nothing shows that it bit.
    hit: tuple[int, ...] = ()


Act = Callable[["Stage", random.Random], Bite]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    name: str
    act: Act
    outage: bool  # Database, broker or network are away meanwhile.


FAULTS: dict[str, Kind] = {}


def fault(name: str, *, outage: bool = False) -> Callable[[Act], Act]:
    """Register a kind of fault."""

    def register(act: Act) -> Act:
        FAULTS[name] = Kind(name=name, act=act, outage=outage)
        return act

    return register


def load() -> dict[str, Kind]:
    for module in ("processes", "servers", "network", "tables"):
        import_module(f"{__name__}.{module}")
    return FAULTS
