"""Using tables that are on the move: where they live now, for writes and for reads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from django.apps import apps
from django.db import DatabaseError, connections, models, router, transaction

from django_strangler import feature_flags
from django_strangler.databases import is_transient
from django_strangler.outbox.models import OutboxEvent, outbox_alias

from .conf import settings
from .declaring import Move, find, move_of
from .exceptions import MoveClosed, MoveRefused, OutsideMove, UnknownMove
from .models import ON, STALE, MoveState, Stage
from .sides import DatabaseSide, side_of

RETRY = 0.01
_writing: ContextVar[dict[str, str]] = ContextVar("strangler_moves_writing")
_reading: ContextVar[dict[str, str]] = ContextVar("strangler_moves_reading")


class _Known:
    """What this process believes; the gates know."""

    def __init__(self) -> None:
        self.hints: dict[str, str] = {}  # Where a move's tables were seen last.
        self._stages: dict[str, tuple[float, str]] = {}
        self._lock = threading.Lock()

    def stage(self, move: type[Move]) -> str:
        """A move's stage, looked up once a second; empty if it has never begun."""
        with self._lock:
            at, stage = self._stages.get(move.name, (float("-inf"), ""))
        if time.monotonic() < at + STALE:
            return stage
        try:
            state = MoveState.objects.using(move.source).filter(name=move.name).first()
            stage = state.stage if state is not None else ""
        except DatabaseError:
            # Its server is away: what was known, goes on.
            if at == float("-inf") or connections[move.source].in_atomic_block:
                raise
        with self._lock:
            self._stages[move.name] = time.monotonic(), stage
        return stage

    def forget(self) -> None:
        """As in a process that has just begun; for tests."""
        self.hints.clear()
        self._stages.clear()


known = _Known()


@contextmanager
def atomic(name: str, *, durable: bool = False) -> Iterator[str]:
    """
    A transaction where the move's tables live now; waits through a switch.

    Yields the alias. Nothing can switch until it ends. Inside of another transaction
    on that alias it is a savepoint; one that began on the other side cannot be carried
    over, and raises.
    """
    move = find(name)
    inside = _writing.get({})
    if name in inside:
        with transaction.atomic(using=inside[name], durable=durable):
            yield inside[name]
        return
    with _entered(move, durable) as alias:
        known.hints[name] = alias
        token = _writing.set({**inside, name: alias})
        try:
            yield alias
        finally:
            _writing.reset(token)


@contextmanager
def _entered(move: type[Move], durable: bool) -> Iterator[str]:
    deadline = time.monotonic() + settings().wait
    while True:
        away: DatabaseError | None = None
        for alias in _likely(move):
            block = transaction.atomic(using=alias, durable=durable)
            try:
                is_open = _enter(move, alias, block)
            except DatabaseError as error:
                if connections[alias].in_atomic_block:
                    raise
                # Perhaps its server is away, and the other side has the truth.
                away, is_open = away or error, False
            if is_open:
                with ExitStack() as ending:
                    ending.push(block)  # It has begun.
                    yield alias
                return
        if away is not None:
            raise away
        if time.monotonic() > deadline:
            raise MoveClosed(
                f"Both sides of the move {move.name!r} have been closed for "
                f"{settings().wait:g} s. See that a mover runs, it ends a switch that "
                "has died: manage.py strangler_moves run"
            )
        time.sleep(RETRY)


def _enter(move: type[Move], alias: str, block: transaction.Atomic) -> bool:
    """Begin the transaction, and keep it if this side is open."""
    stage, side = _stage(move), side_of(move.name, alias)
    if stage not in ON:
        # A start that is younger than what is known here does no harm: the legacy side
        # is open then, and triggers see to the rest.
        is_here = alias == (move.target if stage == Stage.FINISHED else move.source)
        if is_here:
            block.__enter__()
        return is_here
    is_nested = connections[alias].in_atomic_block
    if is_nested and side.is_closed():
        return False  # No lock that would last as long as what is around.
    is_open = False
    block.__enter__()
    try:
        is_open = side.enter()
    except DatabaseError as error:
        # Under snapshots: the gate has moved while we waited for it.
        if is_nested or not is_transient(error):
            raise
    finally:
        if not is_open:
            transaction.set_rollback(True, using=alias)
            block.__exit__(None, None, None)
    return is_open


def _likely(move: type[Move]) -> list[str]:
    first = known.hints.get(move.name, move.source)
    return [first, move.target if first == move.source else move.source]


@contextmanager
def reading(name: str, subject: Any = None) -> Iterator[str]:
    """
    Where to read, for a subject: the other side, if the flag is on and it is as new.

    As new means that nothing which was committed before this call is missing there, so
    nobody misses his own last write. Inside of ``moves.atomic`` it is that alias.
    """
    move = find(name)
    inside = _writing.get({}).get(name)
    alias = inside or _to_read(move, subject)
    token = _reading.set({**_reading.get({}), name: alias})
    try:
        yield alias
    finally:
        _reading.reset(token)


def _to_read(move: type[Move], subject: Any) -> str:
    now = primary(move)
    if now == move.target or known.stage(move) != Stage.FOLLOWING:
        return now
    if not move.reads or not feature_flags.is_enabled(move.reads, subject):
        return now
    return now if side_of(move.name, now).marks(1) else move.target


def _stage(move: type[Move]) -> str:
    try:
        return known.stage(move)
    except DatabaseError:
        if connections[move.source].in_atomic_block:
            raise
        return Stage.FOLLOWING  # The gates decide, as far as they can be asked.


def primary(move: type[Move]) -> str:
    """The alias of the side that has the truth now."""
    stage = _stage(move)
    if stage not in ON:
        return move.target if stage == Stage.FINISHED else move.source
    sides = [side_of(move.name, alias) for alias in (move.source, move.target)]
    try:
        here, there = map(_standing, sides)
    except DatabaseError:
        # One is away. Of an open side the truth is there: never both are open.
        for side in sides:
            with suppress(DatabaseError):
                if not side.is_closed():
                    return side.alias
        raise
    return move.target if there > here else move.source


def _standing(side: DatabaseSide) -> int:
    found = side.standing()
    return found[1] if found is not None else 0


def _inside(move: type[Move]) -> str | None:
    return _writing.get({}).get(move.name) or _reading.get({}).get(move.name)


def model(label: str) -> type[models.Model]:
    """
    The model to use now for a table that moves: ``moves.model("payments.Payment")``.

    Inside of ``moves.atomic`` and ``moves.reading`` it fits their alias.
    """
    move = move_of(label.lower())
    if move is None:
        raise UnknownMove(f"No move declares a table of {label!r}.")
    table = next(
        each
        for each in move.tables
        if label.lower() in (each.label, (each.into or "").lower())
    )
    alias = _inside(move) or primary(move)
    if alias == move.source:
        return apps.get_model(table.model)
    if table.is_handed_over:
        raise MoveRefused(
            f"{label} belongs to the service behind {move.target!r} now. Ask it."
        )
    return apps.get_model(table.into or table.model)


class Router:
    """``DATABASE_ROUTERS``: sends the models of moves to where they live now."""

    def db_for_read(self, model: type[models.Model], **hints: Any) -> str | None:
        """Inside of ``moves.atomic`` or ``moves.reading`` theirs, else the truth's."""
        move = move_of(model._meta.label_lower)
        if move is None:
            return router.db_for_read(model) if _is_beside(hints) else None
        return _own_side(move, model) or _inside(move) or primary(move)

    def db_for_write(self, model: type[models.Model], **hints: Any) -> str | None:
        """Inside of ``moves.atomic`` its alias; else an error, while a move is on."""
        label = model._meta.label
        move = move_of(label.lower())
        if move is None:
            if model is OutboxEvent and (alias := _outbox()):
                return alias
            return router.db_for_write(model) if _is_beside(hints) else None
        own, inside = _own_side(move, model), _writing.get({}).get(move.name)
        if inside is not None:
            if own not in (None, inside):
                raise OutsideMove(
                    f"{label} is of the side {own!r}, and the move {move.name!r} is on "
                    f"{inside!r} now. Ask which model to use: moves.model({label!r})."
                )
            return inside
        if known.stage(move) in ON:
            raise OutsideMove(
                f"{label} is on the move {move.name!r}, and was written outside of "
                f'moves.atomic. Write: with moves.atomic("{move.name}"): …'
            )
        return own or primary(move)

    def allow_relation(
        self, one: models.Model, other: models.Model, **hints: Any
    ) -> bool | None:
        """What refers to rows that move may do so, wherever both were read."""
        is_moving = any(move_of(each._meta.label_lower) for each in (one, other))
        return True if is_moving else None


def _is_beside(hints: dict[str, Any]) -> bool:
    """Whether Django would look for a model that stays where its neighbour went."""
    instance = hints.get("instance")
    return instance is not None and move_of(instance._meta.label_lower) is not None


def _outbox() -> str | None:
    """Events are written beside what they tell of, if they were before it moved."""
    if not (inside := _writing.get({})):
        return None
    token = _writing.set({})
    try:
        usual = outbox_alias()
    finally:
        _writing.reset(token)
    name = next(reversed(inside))
    return inside[name] if usual == find(name).source else None


def _own_side(move: type[Move], model: type[models.Model]) -> str | None:
    """The one side that a model has, where the two have models of their own."""
    table = move.table(model._meta.label_lower)
    if table is None:
        return move.target  # The model that a table is moved into.
    return move.source if table.into is not None else None
