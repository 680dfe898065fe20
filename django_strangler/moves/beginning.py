"""Beginning and ending a move: everything that puts triggers up or takes them down."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from django.db import transaction

from . import checking
from .conf import settings
from .declaring import Move
from .directions import LEGACY, MODERN, Direction, direction_of, sides
from .exceptions import Busy, MoveRefused, UnknownMove
from .models import ON, STALE, Difference, Mover, MoveState, Stage
from .switching import take_back
from .ways import names

Say = Callable[[str], object]


def start(move: type[Move], say: Say = lambda text: None) -> None:
    """
    Put fence and marks up, and let movers begin to copy. Run again, it mends triggers.
    """
    legacy, modern = sides(move)
    state = _state(move)
    is_on = state is not None and state.stage in ON
    errors = [] if is_on else [each for each in checking.check(move) if each.is_error]
    if errors:
        raise MoveRefused(
            f"The move {move.name!r} cannot begin:\n"
            + "\n".join(f"- {each}" for each in errors)
        )
    if not is_on:
        before = modern.standing()
        opened = before[1] if before else 0
        # The target is closed from the first moment on; then the source is watched.
        modern.establish(closed=True, opened=opened)
        legacy.establish(closed=False, opened=opened + 1)
    for table in move.tables:
        for side, name in zip((modern, legacy), reversed(names(table)), strict=True):
            if not (is_on and side.is_installed(name)):
                install = partial(side.install, name, table.label, side.key(name))
                patiently(install, say)
                say(f"Fence and marks are on {name} in {side.alias!r}.")
    if not is_on:
        Difference.objects.using(move.source).filter(move=move.name).delete()
        states = MoveState.objects.using(move.source)
        share = state.share if state is not None else None  # Set by hand: it stays.
        with transaction.atomic(using=move.source):
            states.filter(name=move.name).delete()
            states.create(name=move.name, stage=Stage.COPYING, share=share)


def finish(move: type[Move], say: Say = lambda text: None) -> None:
    """After the switch: the modern side only, and no way back any more."""
    state = _require(move, Stage.FINISHED)
    direction = direction_of(move)
    if direction.primary != MODERN or state.goal:
        raise MoveRefused(
            f"The move {move.name!r} has not switched. Run: manage.py strangler_moves "
            f"switch {move.name} --to modern; or abandon it."
        )
    direction.target.revoke(over=direction.over)
    _end(direction, Stage.FINISHED, say)


def abandon(move: type[Move], say: Say = lambda text: None) -> None:
    """Before the switch: all stays where it is. What was copied is left there."""
    _require(move, Stage.ABANDONED)
    direction = direction_of(move)
    if direction.primary != LEGACY:
        raise MoveRefused(
            f"The move {move.name!r} has switched. Switch back first: manage.py "
            f"strangler_moves switch {move.name} --to legacy"
        )
    MoveState.objects.using(move.source).filter(name=move.name).update(goal="")
    if direction.source.is_closed():
        patiently(
            lambda: take_back(direction, direction.source.close(settings().lock)),
            say,
        )
    else:
        direction.target.revoke(over=direction.over)
    _end(direction, Stage.ABANDONED, say)


def _end(direction: Direction, stage: Stage, say: Say) -> None:
    move = direction.move
    states = MoveState.objects.using(move.source).filter(name=move.name)
    if states.exclude(stage=stage).update(stage=stage, goal=""):
        time.sleep(STALE)  # Until nobody reads where no mover follows any more.
    for table in move.tables:
        for side, name in zip(sides(move), names(table), strict=True):
            patiently(partial(side.uninstall, name), say)
            say(f"Nothing is left on {name} in {side.alias!r}.")
    for side in (direction.source, direction.target):
        side.forget_marks()
    Difference.objects.using(move.source).filter(move=move.name).delete()
    Mover.objects.using(move.source).filter(move=move.name).delete()


def _state(move: type[Move]) -> MoveState | None:
    legacy, modern = sides(move)
    if missing := " ".join(map(str, checking.missing(move, legacy, modern))):
        raise MoveRefused(missing)
    return MoveState.objects.using(move.source).filter(name=move.name).first()


def _require(move: type[Move], ended: Stage) -> MoveState:
    state = _state(move)
    if state is None or state.stage not in (*ON, ended):
        raise UnknownMove(
            f"The move {move.name!r} is not under way"
            + (f": it is {state.stage}." if state is not None else ".")
        )
    return state


def patiently(do: Callable[[], object], say: Say) -> None:
    """Again and again in short tries, so that nobody queues behind us for long."""
    deadline = time.monotonic() + settings().patience
    while True:
        try:
            do()
            return
        except Busy as error:
            if time.monotonic() > deadline:
                raise
            say(f"Once more in a moment: {error}")
            time.sleep(0.5)
