"""
The capturer: publishes what marks name, in one transaction with forgetting the marks.

It locks the capture's row, then reads marks, then rows, and gives each row a position:
so of two events of one row the one with the greater position is of the later state,
and no mark is forgotten before its event is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.db import models

from django_strangler.clock import DatabaseNow
from django_strangler.exceptions import StranglerError
from django_strangler.findings import Finding, Level
from django_strangler.outbox.models import OutboxEvent, outbox_alias
from django_strangler.outbox.publishing import publish_events

from . import counts
from .beginning import Say, patiently
from .capturing import Capture, model_of
from .checking import Obstacle, granted
from .conf import settings
from .declaring import move_of
from .exceptions import MoveRefused
from .models import ON, MoveState, Stage
from .sides import DatabaseSide, Key, side_of
from .sides.session import GATE, MARK, SIDE, plain
from .status import NOT_BEGUN, STOPPED, Status, alive, standstill
from .working import LOOK, Worker

AHEAD = 10_000  # Pending events: copying waits until relays have sent some.


def side(capture: Capture) -> DatabaseSide:
    """Where it is captured, with triggers of its own, also beside another capture."""
    found = side_of(capture.name, capture.source)
    # No name has a dot: what comes after it is the table.
    found.prefix = f"strangler_capture_{capture.name}."
    return found


def _model(capture: Capture) -> type[models.Model]:
    try:
        return model_of(capture)
    except LookupError as error:
        raise MoveRefused(
            f"The capture {capture.name!r} is of {capture.model}, not of a model: "
            f"{error}"
        ) from error


def check(capture: Capture) -> Iterator[Obstacle]:
    """What is in its way before it begins."""
    here, table = side(capture), _model(capture)._meta.db_table
    yield from look(capture)
    yield from granted(here, here.lacking([table]))


def look(capture: Capture) -> Iterator[Obstacle]:
    """The same while it is on: who follows it needs fewer rights."""
    model, here = _model(capture), side(capture)
    table, pk = model._meta.db_table, model._meta.pk
    tables = set(here.connection.introspection.table_names())
    lacking = {table, GATE, SIDE, MARK, OutboxEvent._meta.db_table} - tables
    if lacking:
        yield Obstacle(
            text=f"{here.alias!r} has no table {min(lacking)}.",
            todo=f"Run: manage.py migrate --database={here.alias}",
        )
        return
    if outbox_alias() != here.alias:
        yield Obstacle(
            text=f"The outbox is in {outbox_alias()!r}, and {table} in {here.alias!r}: "
            "no transaction has both.",
            todo="Let the outbox be where the model is: source=, DATABASE_ROUTERS.",
        )
    if pk is None or here.key(table) != (pk.column,):
        yield Obstacle(text=f"{table} has no primary key of one column.")
    known = {each.attname: each for each in model._meta.concrete_fields}
    for name in capture.fields:
        if name not in known:
            yield Obstacle(text=f"{capture.model} has no field {name}.")
        elif known[name] not in model._meta.local_concrete_fields:
            yield Obstacle(
                text=f"The field {name} is in the table of a parent of {model.__name__}"
                f", and what changes there is not seen in {table}.",
                todo=f"Leave it out, and capture {known[name].model._meta.label}.",
            )
    if (move := move_of(model._meta.label_lower)) is not None:
        yield Obstacle(
            text=f"{table} is on the move {move.name!r}: written elsewhere after a "
            "switch, it would leave no event.",
            todo="Capture it where it lives, when the move is finished.",
        )
    for text in here.obstacles([table]):
        yield Obstacle(text=text)


def begin(capture: Capture, say: Say = lambda text: None) -> None:
    """Put marks up, and publish every row once; run again, it publishes all anew."""
    if reasons := " ".join(map(str, check(capture))):
        raise MoveRefused(f"The capture {capture.name!r} cannot begin: {reasons}")
    here, table = side(capture), _model(capture)._meta.db_table
    if here.standing() is None:
        here.establish(closed=False, opened=1)
    if not here.is_installed(table):
        patiently(lambda: here.install(table, capture.label, here.key(table)), say)
        say(f"Marks are on {table} in {here.alias!r}.")
    anew = {
        "stage": Stage.COPYING,
        "progress": {"after": None, "rows": 0},
        "started_at": DatabaseNow(),
        "copied_at": None,
    }
    states = MoveState.objects.using(capture.source)
    _between_pages(
        here, lambda: states.update_or_create(name=capture.name, defaults=anew), say
    )


def end(capture: Capture, say: Say = lambda text: None) -> None:
    """Take the marks down; what others have copied stays as it is."""
    here, table = side(capture), _model(capture)._meta.db_table
    patiently(lambda: here.uninstall(table), say)
    states = MoveState.objects.using(capture.source).filter(name=capture.name)
    _between_pages(here, lambda: states.update(stage=Stage.ABANDONED), say)
    here.forget_marks()
    say(f"Nothing is left on {table} in {here.alias!r}.")


def _between_pages(here: DatabaseSide, do: Callable[[], object], say: Say) -> None:
    """Change the books when no page is under way, which would write them back."""

    def alone() -> None:
        with here.busy(), here.writing():
            here.locked()
            do()

    patiently(alone, say)


def status(capture: Capture) -> Status:
    """How it is."""
    states = MoveState.objects.using(capture.source).filter(name=capture.name)
    state = states.first()
    if state is None or state.stage not in ON:
        stage = NOT_BEGUN if state is None else STOPPED
        return Status(name=capture.name, stage=stage, is_capture=True)
    marks, lag = side(capture).lag()
    movers, trouble = alive(capture.name, capture.source)
    return Status(
        name=capture.name,
        stage=state.stage,
        movers=movers,
        trouble=trouble,
        copied=state.progress["rows"],
        marks=marks,
        lag=lag,
        is_capture=True,
    )


def find(capture: Capture) -> Iterator[Finding]:
    """For the doctor."""
    now = status(capture)
    if not now.is_on:
        return
    troubles = [Finding(Level.TROUBLE, each.text, each.todo) for each in look(capture)]
    here, table = side(capture), _model(capture)._meta.db_table
    if not here.is_installed(table):
        troubles.append(
            Finding(
                Level.TROUBLE,
                f"Triggers on {table} in {here.alias!r} are missing or disabled.",
                f"manage.py strangler_moves capture {capture.name}. What was deleted "
                "meanwhile has left no event: when all is published anew, readers "
                "delete copies whose position is lower than the first one of that.",
            )
        )
    troubles += standstill(now)
    yield from troubles or [Finding(Level.FINE, f"{capture.name}: {now.stage}.")]


class Capturer(Worker):
    """One process at one capture; several take turns, a batch each."""

    what = "capture"

    def __init__(self, capture: Capture) -> None:
        super().__init__(capture.name, capture.source)
        self.capture = capture
        self._side = side(capture)
        self._is_on = self._is_copying = False

    def step(self) -> float:
        """Publish what is marked, and a page of the copy while there is one."""
        now, chunk = time.monotonic(), self._chunk.size
        if now >= self._look_at:
            self._look()
            self._look_at = now + LOOK
        if not self._is_on:
            return LOOK
        try:
            done = self._follow()
            if self._is_copying and now >= self._copy_at:
                done += self._copy()
        except StranglerError as error:
            return self.stand_still(error)
        self.go_on()
        self._idle = settings().poll if done else min(self._idle * 1.5, 0.1)
        return 0.0 if done >= chunk else self._idle

    def recover(self) -> None:
        self._look_at = 0.0

    def _look(self) -> None:
        state = self._states.first()
        self._is_on = state is not None and state.stage in ON
        self._is_copying = state is not None and state.stage == Stage.COPYING
        if self._is_on:
            self._hold.keep()
            counts.lags[(self.name,)] = self._side.age()
        else:
            self.leave()
            counts.lags.pop((self.name,), None)

    def _follow(self) -> int:
        """Publish the rows that marks name, and forget those marks."""
        if not self._side.marks(1):
            return 0  # Without a lock, and without a transaction.
        with self._locked() as position:
            began = time.monotonic()
            marks = self._side.marks(self._chunk.size)
            keys = dict.fromkeys(key for _, tab, key in marks)
            self._publish([self._id(key) for key in keys], position)
            self._side.delete_marks([number for number, _, _ in marks])
        self._chunk.fit(len(marks), time.monotonic() - began)
        self.count(len(marks), self._side)
        return len(marks)

    def _copy(self) -> int:
        """Publish the next rows in the order of their keys; where it is, is kept."""
        began = time.monotonic()
        events = OutboxEvent.objects.using(self.capture.source).pending()
        if events[AHEAD - 1 : AHEAD].exists():
            self._copy_at = began + 1.0
            return 0
        page = self._page.size
        with self._locked() as position:
            state = self._states.get()
            at = state.progress
            if state.stage != Stage.COPYING:
                return 0
            table = _model(self.capture)._meta.db_table
            key = self._side.remembered("key", table)
            after: Key | None = tuple(at["after"]) if at["after"] else None
            rows = self._side.rows_after(table, key, key, after, page)
            keys = [plain(row) for row in rows]
            self._publish([self._id(each) for each in keys], position)
            at["rows"] += len(keys)
            at["after"] = keys[-1] if keys else at["after"]
            if len(keys) < page:
                self._states.update(
                    stage=Stage.FOLLOWING, progress=at, copied_at=DatabaseNow()
                )
                self._look_at = 0.0
            else:
                self._states.update(progress=at)
        counts.rows.add(self.capture.name, counts.COPIED, n=len(keys))
        took = time.monotonic() - began
        self._page.fit(len(keys), took)
        self._copy_at = began + took / max(0.01, settings().share)
        return len(keys)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The transaction of one batch: the last position that was given."""
        with self._side.writing():
            found = self._side.locked()
            if found is None:
                raise MoveRefused(
                    f"The capture {self.capture.name!r} has not begun: manage.py "
                    f"strangler_moves capture {self.capture.name}"
                )
            # Also after a backup was restored, with the counts of then.
            yield max(found[0], time.time_ns() // 1000)

    def _id(self, key: Key) -> Any:
        return _model(self.capture)._meta.pk.to_python(key[0])

    def _publish(self, ids: Iterable[Any], position: int) -> None:
        model = _model(self.capture)
        rows: dict[Any, Mapping[str, Any]] = {}
        ids = list(ids)
        for start in range(0, len(ids), self._side.at_once):
            found = model._base_manager.using(self.capture.source).filter(
                pk__in=ids[start : start + self._side.at_once]
            )
            rows.update(
                {row["pk"]: row for row in found.values("pk", *self.capture.fields)}
            )
        events = []
        for id in ids:
            position += 1
            events += self.capture.events(id, position, rows.get(id))
        if events:
            publish_events(events, using=self.capture.source)
            self._side.advance(position)
