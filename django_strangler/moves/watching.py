"""What doctor, board, page and metrics say about moves and captures."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext, suppress
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import Error, connections, router
from django.http import HttpRequest

from django_strangler import counting, evidence
from django_strangler.databases import own_connection
from django_strangler.evidence.statistics import Rule, wilson
from django_strangler.exceptions import StranglerError
from django_strangler.feature_flags.models import Guard
from django_strangler.findings import Finding, Level
from django_strangler.monitoring.board import Shown, domain_of_module
from django_strangler.monitoring.panels import Panel
from django_strangler.printable import are, how_many

from . import capturer, checking, differences
from .capturing import captures
from .declaring import Move, registry
from .directions import LEGACY
from .models import Difference, MoveState, Stage
from .status import NOT_BEGUN, Status, alive, standstill, status

SHOWN = 20
LOOK_EVERY = 5.0  # Seconds, at most, for the metrics.


def find() -> Iterator[Finding]:
    """Differences, what stands still, and what has come in the way."""
    looks = [(move.name, partial(_find, move)) for move in _moves()]
    looks += [(name, partial(capturer.find, captures[name])) for name in captures]
    for name, look in looks:
        try:
            yield from look()
        except (Error, StranglerError) as error:
            yield Finding(Level.UNKNOWN, f"{name} cannot be looked at: {error}")


def _find(move: type[Move]) -> Iterator[Finding]:
    found = status(move)
    if not found.is_on:
        yield Finding(Level.FINE, f"{move.name}: {found.stage}.")
        return
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
    troubles += standstill(found)
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
    rows, captured, unseen = [], [], {}
    for name in sorted({*registry, *captures}):
        try:
            if name in registry:
                rows.append(_row(registry[name]))
            else:
                captured.append(capturer.status(captures[name]))
        except StranglerError as error:
            unseen[name] = str(error)
        except Error as error:
            unseen[name] = type(error).__name__
    return {"rows": rows, "captures": captured, "unseen": unseen}


def _row(move: type[Move]) -> dict[str, Any]:
    found = status(move)
    rows = Difference.objects.using(move.source).filter(move=move.name)
    return {
        "status": found,
        "copied": 100 * found.copied // found.of if found.of else 0,
        "validated": 100 * found.validated // found.of if found.of else 0,
        "rate": _rate(differences.source_of(move.name)),
        "differences": list(rows.order_by("first_seen")[:SHOWN]),
    }


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


class _Followed:
    """Who follows what is on, as it was a moment ago."""

    def __init__(self) -> None:
        self._at, self._seen = float("-inf"), dict[str, tuple[int, str]]()
        self._lock = threading.Lock()

    def __call__(self) -> dict[str, tuple[int, str]]:
        """By name: how many live, and why one of them stands still."""
        with self._lock:
            if time.monotonic() >= self._at + LOOK_EVERY:
                self._seen, self._at = self._look(), time.monotonic()
            return self._seen

    def _look(self) -> dict[str, tuple[int, str]]:
        where = {name: move.source for name, move in registry.items()}
        where |= {name: capture.source for name, capture in captures.items()}
        found = {}
        for source in {*where.values()} & {*connections}:
            connection = connections[source]
            # A request's connection stays its own, with what was set on it.
            is_used = connection.connection is not None
            own = nullcontext() if is_used else own_connection(connection)
            with suppress(Error), own:  # That a database is away, others say.
                on = MoveState.objects.using(source).on()
                for name in list(on.values_list("name", flat=True)):
                    if where.get(name) == source:
                        found[name] = alive(name, source)
        return found


followed = _Followed()
counting.gauge(
    "moves_movers",
    "Processes that follow a move or a capture which is on.",
    labels=("move",),
    read=lambda: {(name,): float(number) for name, (number, _) in followed().items()},
)
counting.gauge(
    "moves_standing_still",
    "1: one of them gets nowhere; the doctor says why.",
    labels=("move",),
    read=lambda: {(name,): float(bool(why)) for name, (_, why) in followed().items()},
)
