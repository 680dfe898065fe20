"""What doctor, board and page say about moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from django.db import Error, router
from django.http import HttpRequest

from django_strangler import evidence
from django_strangler.evidence.statistics import Rule, wilson
from django_strangler.exceptions import StranglerError
from django_strangler.feature_flags.models import Guard
from django_strangler.findings import Finding, Level
from django_strangler.monitoring.board import Shown, domain_of_module
from django_strangler.monitoring.panels import Panel
from django_strangler.printable import are, how_many

from . import capturer, checking, differences
from .capturing import captures
from .conf import settings
from .declaring import Move, registry
from .directions import LEGACY
from .models import Difference, Stage
from .status import NOT_BEGUN, Status, status

SHOWN = 20


def find() -> Iterator[Finding]:
    """Differences, moves that stand still, and what has come in their way."""
    for move in _moves():
        try:
            found = status(move)
            if not found.is_on:
                yield Finding(Level.FINE, f"{move.name}: {found.stage}.")
                continue
            yield from _of(move, found)
        except (Error, StranglerError) as error:
            yield Finding(Level.UNKNOWN, f"{move.name} cannot be looked at: {error}")
    for capture in captures.values():
        try:
            yield from capturer.find(capture)
        except (Error, StranglerError) as error:
            yield Finding(Level.UNKNOWN, f"{capture.name} cannot be looked at: {error}")


def _of(move: type[Move], found: Status) -> Iterator[Finding]:
    obstacles = checking.check(move)
    if found.stage != Stage.COPYING:  # Before, nobody can switch.
        obstacles += checking.undrained(move, move.target)
    troubles = [
        Finding(Level.TROUBLE, each.text, each.todo)
        for each in obstacles
        if each.is_error
    ]
    if found.differing:
        troubles.append(
            Finding(
                Level.TROUBLE,
                f"{move.name}: {are(found.differing, 'row')} different.",
                f"manage.py strangler_moves verify {move.name} --repair",
            )
        )
    if found.lag > settings().lag:
        troubles.append(
            Finding(
                Level.TROUBLE,
                f"{move.name} is {found.lag:.0f} s behind.",
                "See that a mover runs: manage.py strangler_moves run",
            )
        )
    yield from troubles or [
        Finding(Level.FINE, f"{move.name}: {found.stage}, {found.lag:.1f} s behind.")
    ]


def shown() -> Iterator[Shown]:
    """For the board: each move that has begun; differences hold."""
    for move in _moves():
        found = status(move)
        if found.stage == NOT_BEGUN:
            continue
        left, then = _left(found)
        yield Shown(
            domain=domain_of_module(move.__module__),
            name=move.name,
            text=f"{found.stage}, {how_many(found.verified, 'row')} verified",
            hold=(f"In the move {move.name}, {are(found.differing, 'row')} different.",)
            if found.differing
            else (),
            left=left,
            next=then,
            quiet=(differences.source_of(move.name),),
        )


def _left(found: Status) -> tuple[tuple[str, ...], str]:
    name = found.name
    if found.stage == Stage.ABANDONED:
        return (f"The move {name} was abandoned.",), ""
    if found.stage == Stage.FINISHED:
        return (), ""
    text = f"The move {name} is {found.stage}."
    if found.primary == LEGACY:
        return (text,), f"manage.py strangler_moves switch {name} --to modern"
    return (text,), f"manage.py strangler_moves finish {name}"


def _data(request: HttpRequest) -> Mapping[str, Any]:
    rows = []
    for move in _moves():
        found = status(move)
        rows.append(
            {
                "status": found,
                "copied": 100 * found.copied // found.of if found.of else 0,
                "validated": 100 * found.validated // found.of if found.of else 0,
                "rate": _rate(differences.source_of(move.name)),
                "differences": Difference.objects.using(move.source)
                .filter(move=move.name)
                .order_by("first_seen")[:SHOWN],
            }
        )
    return {"rows": rows}


def _rate(source: str) -> str:
    """How many rows differed of those compared, and what that says of the others."""
    seen = evidence.seen(source, since=timedelta(days=1))["modern"]
    low, high = (100 * each for each in wilson(seen.failed, seen.checked))
    limits = [
        each.rule.get("limit", Rule().limit)
        for each in Guard.objects.using(router.db_for_write(Guard))
        if source in each.sources
    ]
    if not seen.checked:
        return "nothing was compared in a day"
    text = f"{seen.failed:,} of {seen.checked:,} in a day: {low:.3g} to {high:.3g} %"
    return f"{text}; the guard's limit is {min(limits):g} %" if limits else text


def _moves() -> list[type[Move]]:
    return [registry[name] for name in sorted(registry)]


PANEL = Panel(
    name="moves",
    title="Moves",
    permission="strangler_moves.view_movestate",
    data=_data,
    template="admin/strangler_moves/panel.html",
)
