"""A verification on request: every table, whole, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from django.db import connections

from django_strangler.clock import DatabaseNow

from . import differences, verifying
from .declaring import Move
from .directions import Direction, direction_of
from .models import MoveState, Stage
from .verifying import Compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """How many rows, how many that differ and stay so, and how long it took."""

    rows: int
    differing: int
    seconds: float


def verify(move: type[Move], *, repair: bool = False) -> Verified:
    """Compare everything; with ``repair``, sync what differs and look again."""
    began = time.monotonic()
    direction = direction_of(move)
    rows = differing = 0
    differences.look_again(direction)
    for compared in _everything(direction):
        rows += compared.rows
        differing += differences.note(move, compared.rows, compared.found)
    if repair:
        differing = differences.repair(direction)
    else:
        differing = differences.look_again(direction)
    states = MoveState.objects.using(move.source).filter(name=move.name)
    states.exclude(stage=Stage.COPYING).update(
        verified_at=DatabaseNow(), verified_rows=rows
    )
    return Verified(rows=rows, differing=differing, seconds=time.monotonic() - began)


def _everything(direction: Direction) -> Iterator[Compared]:
    if direction.source.kind == "sqlite":
        yield from verifying.everything(direction)
        return
    with ThreadPoolExecutor(1) as beside:
        try:
            yield from verifying.everything(direction, beside)
        finally:
            alias = direction.target.alias
            beside.submit(lambda: connections[alias].close()).result()


def named(move: type[Move], most: int = 20) -> list[str]:
    """What differs, a line each."""
    lines = [
        f"{each.tab} {each.key} {each.kind}"
        + (f" in {', '.join(each.fields)}" if each.fields else "")
        + f", first seen {each.first_seen:%Y-%m-%d %H:%M:%S}; {each.cause}"
        for each in differences.known(move)
    ]
    return lines[:most] + ([f"and {len(lines) - most} more"] if lines[most:] else [])
