"""The mover: copies, follows, validates, and ends what a dead switch has begun."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta

from django.db import Error, InterfaceError, OperationalError, connections
from django.db.models import QuerySet

from django_strangler.announcing import Announcer
from django_strangler.clock import DatabaseNow
from django_strangler.exceptions import StranglerError

from . import checking, counts, differences, syncing, verifying
from .capturer import Capturer
from .capturing import captures
from .conf import settings
from .declaring import Move, registry
from .directions import LEGACY, MODERN, Direction, direction_of, sides, ways_between
from .exceptions import Fenced, MoveRefused
from .models import ON, MoveState, Stage
from .sides import Key
from .switching import Switch, is_first, is_switching, reopen, settle
from .verifying import Position
from .ways import Way
from .working import LOOK, Batch, Worker

logger = logging.getLogger("django_strangler.moves")

LOOK_CLOSELY = 10.0  # Seconds: whether tables and triggers are as they were.
IDLE = 0.1  # The longest sleep.
TICK = timedelta(microseconds=500)


class Mover(Worker):
    """One process at one move."""

    what = "move"

    def __init__(
        self, move: type[Move], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(move.name, move.source)
        self.move = move
        self._now = monotonic
        self._state: MoveState | None = None
        self._direction: Direction | None = None
        self._ways: dict[str, Mapping[str, Way]] = {}
        self._closely_at = self._validate_at = 0.0
        # Marks wait as long as a range takes.
        self._range = Batch(verifying.EXACT, verifying.RANGE, takes=0.03)
        self._best = float("inf")  # Seconds for a row, when nothing else goes on.

    def step(self) -> float:
        try:
            if self._now() >= self._look_at:
                self._look()
            if self._state is None or self._direction is None:
                return LOOK
            delay = self._work(self._state, self._direction)
            self.go_on()
            return delay
        except Fenced:
            # Somebody has switched: look anew.
            self._forget()
            return settings().poll
        except StranglerError as error:
            self._forget()
            return self.stand_still(error)

    def recover(self) -> None:
        counts.lags.pop((self.move.name,), None)
        self._forget()
        self._closely_at = 0.0

    def _forget(self) -> None:
        self._look_at, self._direction = 0.0, None

    def _look(self) -> None:
        self._look_at = self._now() + LOOK
        self._state = self._states.first()
        self._direction = None
        if self._state is None or self._state.stage not in ON:
            self._state = None
            counts.lags.pop((self.move.name,), None)
            self._hold.leave()
            return
        self._hold.keep()
        if not is_first(self.move, self._hold):
            # Another one tells; what we have known would stay for ever.
            counts.lags.pop((self.move.name,), None)
            self.go_on()
            return
        if self._now() >= self._closely_at:
            self._look_closely()
        direction = direction_of(self.move, self._ways, keep=self._hold.keep)
        settle(self._state, direction)
        if self._is_left_half_way(self._state, direction):
            self._resume(self._state, direction)
            self._look_at = 0.0
            return
        self._direction = direction
        counts.lags[(self.move.name,)] = direction.source.age()

    def _look_closely(self) -> None:
        """Columns are looked up anew, and compared with what the move can do."""
        legacy, modern = sides(self.move)
        self._ways = {
            LEGACY: ways_between(self.move, legacy, modern),
            MODERN: ways_between(self.move, modern, legacy),
        }
        for each in checking.seen(self.move):
            if each.is_error:
                raise MoveRefused(str(each))
        self._closely_at = self._now() + LOOK_CLOSELY

    def _is_left_half_way(self, state: MoveState, direction: Direction) -> bool:
        if not state.goal and not direction.source.is_closed():
            return False
        return not is_switching(self.move)

    def _resume(self, state: MoveState, direction: Direction) -> None:
        """A switch has died: end it, or take its closing back."""
        if not state.goal or state.goal == direction.primary:
            reopen(self.move)
            return
        logger.warning("The move %r goes on with a switch that has died", state.name)
        Switch(self.move, state.goal, keep=self.keep).run(resumed=True)

    # Work

    def _work(self, state: MoveState, direction: Direction) -> float:
        # A page and a chunk in turn: who writes much, keeps no copy from its end.
        chunk, began = self._chunk.size, self._now()
        most = chunk if state.stage == Stage.COPYING else syncing.AT_ONCE
        done, _ = syncing.follow(direction, chunk, most)
        self._chunk.fit(done, self._now() - began)
        self.count(done, direction.source)
        if done:
            self._idle = settings().poll
        if state.stage == Stage.COPYING:
            if self._now() < self._copy_at:
                return min(self._copy_at - self._now(), settings().poll)
            self._copy(state, direction)
            return 0.0
        if self._now() >= self._validate_at:
            self._validate(state, direction)
        elif not done:
            self._idle = min(self._idle * 1.5, IDLE)
        return 0.0 if done >= chunk else self._idle

    def _copy(self, state: MoveState, direction: Direction) -> None:
        """The next page; then a pause, as long as pace and load ask for."""
        for tab, way in direction.ways.items():
            at = state.progress.setdefault(
                tab,
                {
                    "after": None,
                    "rows": 0,
                    "of": way.source.estimated_rows(way.name),
                    "is_done": False,
                },
            )
            if at["is_done"]:
                continue
            began, page = self._now(), self._page.size
            after: Key | None = tuple(at["after"]) if at["after"] else None
            rows, last = syncing.copy_page(direction, way, after, page)
            at["rows"] += rows
            counts.rows.add(self.move.name, counts.COPIED, n=rows)
            at["is_done"] = rows < page
            at["after"] = last or at["after"]
            self._pace(state, direction, rows, self._now() - began)
            self._books(state).update(progress=state.progress)
            return
        self._books(state).update(stage=Stage.FOLLOWING, copied_at=DatabaseNow())
        state.stage = Stage.FOLLOWING
        logger.info("The move %r has copied everything and follows", self.move.name)

    def _books(self, state: MoveState) -> QuerySet[MoveState]:
        # Who slept while the move was abandoned and begun anew, or switched and
        # switched back, has nothing to say about that one.
        rows = self._states.filter(stage=state.stage)
        for name in ("started_at", "switched_at"):
            at = getattr(state, name)
            # SQLite keeps times as texts, and one may be written in several ways.
            around = {f"{name}__range": (at - TICK, at + TICK)} if at else {name: None}
            rows = rows.filter(**around)
        return rows

    def _pace(
        self, state: MoveState, direction: Direction, rows: int, took: float
    ) -> None:
        conf = settings()
        share = max(0.01, conf.share if state.share is None else state.share)
        rest = took * (1 / share - 1)
        if rows >= self._page.size:
            each = took / rows
            self._best = min(self._best, each)
            if each > 3 * self._best:  # The databases have other work.
                rest += took
            self._page.fit(rows, took)
        behind = (direction.source.replica_lag(), direction.target.replica_lag())
        if max(behind) > conf.replica_lag:
            rest += 1.0
        self._copy_at = self._now() + rest

    def _validate(self, state: MoveState, direction: Direction) -> None:
        """The next range of the rotation; a whole round is a verification."""
        conf = settings()
        if not conf.validate:
            self._validate_at = self._now() + LOOK_CLOSELY
            return
        began = self._now()
        at = state.validated
        if not at:
            differences.look_again(direction)
            at.update(at=None, rows=0, found=0)
        position = Position(*at["at"] or ())
        compared = verifying.step(direction, position, most=self._range.size)
        self._range.fit(compared.rows, self._now() - began)
        at["rows"] += compared.rows
        at["found"] += differences.note(self.move, compared.rows, compared.found)
        self._validate_at = self._now() + (self._now() - began) / conf.validate
        if compared.next is not None:
            at["at"] = compared.next
            self._books(state).update(validated=at)
            return
        state.validated = {}
        self._books(state).update(
            validated={}, verified_at=DatabaseNow(), verified_rows=at["rows"]
        )


def run(
    stop: threading.Event,
    only: str | None = None,
    beat: Callable[[], object] = lambda: None,
) -> None:
    """Work at all moves and captures, or at one, until asked to stop."""
    workers: dict[str, Worker] = {}
    due: dict[str, float] = {}  # Of one that stands still, later than of the others.
    trouble = Announcer(logger)
    while not stop.is_set():
        for name in (*registry, *captures):
            if only not in (None, name) or time.monotonic() < due.get(name, 0.0):
                continue
            if name not in workers:
                workers[name] = _worker(name)
            delay = _stepped(workers[name], trouble)
            for each in workers.values():
                with suppress(Error):  # It is told when that one has its turn.
                    each.keep()
            due[name] = time.monotonic() + delay
        beat()
        delay = min(due.values(), default=float("inf")) - time.monotonic()
        if delay > 0:
            stop.wait(min(delay, LOOK))
    for worker in workers.values():
        with suppress(Error):  # A hold ends by itself.
            worker.leave()


def _worker(name: str) -> Worker:
    if name in registry:
        return Mover(registry[name])
    return Capturer(captures[name])


def _stepped(worker: Worker, trouble: Announcer) -> float:
    name = worker.name
    try:
        delay = worker.step()
        trouble.over(name, "The databases of the move %r work again", name)
        return delay
    except (InterfaceError, OperationalError) as error:
        trouble.once(name, "The move %r waits for a database: %s", name, error)
        worker.recover()
        connections.close_all()
        return LOOK
    except Exception as error:  # noqa: BLE001
        # A function of the project's, say, or a row that the target does not take: that
        # does not pass by itself.
        worker.recover()
        if isinstance(error, Error):
            connections.close_all()
        with suppress(Error):
            return worker.stand_still(error)
        return LOOK
