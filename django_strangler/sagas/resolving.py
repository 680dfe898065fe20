"""What a person may do with a stuck saga, each with a reason and a line of history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.db import router, transaction

from . import moving, rules
from .definitions import registry
from .exceptions import InvalidSaga
from .models import SagaRun
from .rules import Move, State


def retry(run: SagaRun, *, by: str, why: str) -> SagaRun:
    """Ask the participant of its step once more."""
    return _resolve(run, "retried", by, why, rules.retry)


def skip_undo(run: SagaRun, *, by: str, why: str) -> SagaRun:
    """Take the step for undone, and undo those before it."""

    def skip(steps: Any, place: rules.Place) -> Move:
        if not place.undoing:
            raise InvalidSaga(f"{run} is not undoing anything: nothing can be skipped.")
        return rules.skip(steps, place)

    return _resolve(run, "skipped", by, why, skip)


def resolve(run: SagaRun, *, completed: bool, by: str, why: str) -> SagaRun:
    """Declare it ended: everything that it was to do, or to undo, was done by hand."""
    state = State.COMPLETED if completed else State.UNDONE

    def end(steps: Any, place: rules.Place) -> Move:
        ended = replace(place, state=state, step="", turn=place.turn + 1)
        return Move(place=ended, reason=why)

    return _resolve(run, "resolved", by, why, end)


def _resolve(
    run: SagaRun,
    what: str,
    by: str,
    why: str,
    decide: Callable[[Any, rules.Place], Move],
) -> SagaRun:
    if not why.strip():
        raise InvalidSaga("Say why: it is kept in the saga's history.")
    alias = run._state.db or str(router.db_for_write(SagaRun))
    with transaction.atomic(using=alias):
        rows: Any = SagaRun.objects.using(alias).select_for_update()
        locked: SagaRun = rows.get(pk=run.pk)
        if locked.place.state is not State.STUCK:
            raise InvalidSaga(f"{locked} is not stuck any more: nothing was done.")
        steps = registry.get(locked.name, locked.version).steps
        move = decide(steps, locked.place)
        moving.record(locked, locked.place, what, why, by)
        moving.make(locked, move)
    return locked
