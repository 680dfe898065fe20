"""
Switching: close the source, drain its marks, verify what they named, open the target.

It names its goal, so it can be run again after a kill, by anybody: each closing takes a
token from the source, and whoever opens must have read the target's epoch before. At no
moment can both sides be open.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone

from django.db import Error, router
from django.db.models import QuerySet

from django_strangler.clock import DatabaseNow
from django_strangler.databases import is_transient
from django_strangler.feature_flags.models import Incident
from django_strangler.holding import Hold
from django_strangler.printable import are, how_many

from . import checking, counts, differences, syncing, verifying
from .conf import settings
from .declaring import Move
from .directions import LEGACY, MODERN, Direction, direction_of
from .exceptions import Busy, Fenced, MoveRefused
from .models import ON, STALE, Mover, MoveState, Stage
from .sides import Key
from .working import hold_of

HOLD = 1.0  # Seconds until a mover may finish what a dead switch has begun.
QUICK = 0.25  # A pass over the marks that takes longer: too much is going on.
BACK_OFF = (0.5, 2.0)
GLANCE = 0.005
IN_CLOSED = 2000  # Marks that are read at a time while writers wait.


class TooSlow(MoveRefused):
    """Draining took longer than writers may be kept waiting."""


def refusals(
    direction: Direction,
    state: MoveState,
    *,
    resumed: bool = False,
    without_relay: bool = False,
) -> list[str]:
    """Why not to switch now, each a sentence."""
    conf, name = settings(), direction.move.name
    found = []
    if state.stage == Stage.COPYING:
        found.append("Not everything is copied yet.")
    now = datetime.now(timezone.utc)
    if now < state.started_at + timedelta(seconds=3 * STALE):
        found.append("It has just begun, and not every process knows it.")
    oldest = now - timedelta(seconds=conf.fresh)
    if state.verified_at is None or state.verified_at < oldest:
        found.append(
            f"There is no verification of the last {conf.fresh:g} seconds. Run: "
            f"manage.py strangler_moves verify {name}"
        )
    if number := len(differences.known(direction.move)):
        found.append(
            f"{are(number, 'row')} different. Look at them, then run: manage.py "
            f"strangler_moves verify {name} --repair"
        )
    number, age = direction.source.lag()
    if age > conf.lag:
        found.append(
            f"The other side is {age:.1f} s behind, with {how_many(number, 'mark')} "
            "to follow. See that a mover runs: manage.py strangler_moves run"
        )
    incidents = Incident.objects.using(router.db_for_write(Incident)).filter(
        source=differences.source_of(name), resumed_at=None
    )
    for incident in incidents:
        found.append(
            f"The guard of the flag {incident.flag} has tripped: {incident.text} "
            f"Resume it: manage.py flag resume {incident.flag}"
        )
    obstacles = checking.look(direction)
    if not resumed:
        # The survey takes its time, and code does not change meanwhile.
        obstacles += [*checking.unnumbered(direction.ways)]
        obstacles += checking.captured(direction.move, home=direction.target.alias)
        obstacles += checking.tied(direction.move)
        if not without_relay:
            obstacles += checking.undrained(direction.move, direction.target.alias)
    return found + [str(each) for each in obstacles if each.is_error]


class Switch:
    """One attempt after the other, until the goal is reached or patience is at end."""

    def __init__(
        self,
        move: type[Move],
        goal: str,
        *,
        keep: Callable[[], object] = lambda: None,  # What else is to live meanwhile.
        say: Callable[[str], object] = lambda text: None,
        without_relay: bool = False,
    ) -> None:
        self.move, self.goal = move, goal
        self._without_relay = without_relay
        self._say = say
        self._state = MoveState.objects.using(move.source).filter(name=move.name)
        self._hold = hold_of(move.name, move.source, length=HOLD, switches=True)
        self._beside = keep

    def run(self, *, resumed: bool = False) -> float:
        """Switch; says for how many seconds both sides were closed."""
        conf = settings()
        deadline = time.monotonic() + conf.patience
        state = self._state.get()
        direction = direction_of(self.move, keep=self._beside)
        if direction.primary == self.goal:
            settle(state, direction)
            return 0.0
        is_closed = direction.source.is_closed()
        if not (resumed and is_closed):
            # What is closed already goes on: its refusals were looked at then.
            syncing.follow(direction, conf.chunk)
            self._refuse_if(
                refusals(
                    direction,
                    state,
                    resumed=resumed,
                    without_relay=self._without_relay,
                )
            )
        self._hold.join()
        self._state.update(goal=self.goal)
        try:
            return self._until(deadline)
        finally:
            self._hold.leave()

    def _keep(self) -> None:
        self._hold.keep()
        self._beside()

    def _refuse_if(self, reasons: list[str]) -> None:
        if reasons:
            self._state.update(goal="")
            raise MoveRefused(
                f"The move {self.move.name!r} does not switch. " + " ".join(reasons)
            )

    def _until(self, deadline: float) -> float:
        while True:
            direction = direction_of(self.move, keep=self._keep)
            if direction.primary == self.goal:
                settle(self._state.get(), direction)
                return 0.0
            state = self._state.get()
            if state.goal != self.goal or state.stage not in ON:
                raise MoveRefused(
                    f"The switch of {self.move.name!r} was taken back, or the move was "
                    "ended, by another process."
                )
            try:
                return self._attempt(direction, deadline)
            except (Busy, TooSlow) as error:
                if time.monotonic() > deadline:
                    self._state.update(goal="")
                    raise MoveRefused(
                        f"The move {self.move.name!r} did not switch within "
                        f"{settings().patience:g} s, and nothing has changed: {error}"
                    ) from error
                self._say(f"Once more in a moment: {error}")
                if isinstance(error, TooSlow):
                    self._wait(random.uniform(*BACK_OFF))
            except Fenced:
                # Another switch was faster, or took its closing back.
                self._wait(0.05)

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._keep()
            time.sleep(min(0.1, max(0.0, until - time.monotonic())))

    def _catch_up(self, direction: Direction, until: float) -> None:
        """Follow until a pass is quick: what is written then, is soon followed."""
        while True:
            began = time.monotonic()
            syncing.follow(direction, settings().chunk)
            if time.monotonic() - began <= QUICK:
                return
            if time.monotonic() > until:
                raise TooSlow("More is written than can be followed.")

    def _attempt(self, direction: Direction, deadline: float) -> float:
        conf = settings()
        if not direction.source.is_closed():
            self._catch_up(direction, deadline)
            try:
                self._number(direction, direction.target.numbers_before, before=True)
            except Busy as error:  # Its readers queue behind it: not again at once.
                raise TooSlow(str(error)) from error
            self._keep()
        token, asked = self._close(direction)
        try:
            self._closed(direction, time.monotonic() + conf.pause)
        except Fenced:
            raise
        except BaseException as error:
            # Whatever it was: nobody may be kept out for longer. What cannot be taken
            # back now, because a database is away, a mover ends.
            with suppress(Error):
                take_back(direction, token)
                if isinstance(error, Busy | TooSlow) or is_transient(error):
                    raise TooSlow(str(error)) from error
                self._state.update(goal="")
            raise
        took = time.monotonic() - asked
        counts.closed.observe(self.move.name, took)
        return took

    def _close(self, direction: Direction) -> tuple[int, float]:
        """Close the source; says with which token, and since when others wait."""
        conf, asked = settings(), time.monotonic()
        try:
            return direction.source.close(conf.lock), asked
        except Busy as error:
            busy = error
        # Who asks makes others queue. Until that is fair again only look in: where long
        # transactions follow one another, there is a moment between two.
        until = time.monotonic() + random.uniform(*BACK_OFF)
        while time.monotonic() < until:
            self._keep()
            syncing.follow(direction, conf.chunk)
            asked = time.monotonic()
            with suppress(Busy):
                return direction.source.close(0), asked
            time.sleep(GLANCE)
        raise Busy(
            f"{busy} Transactions that write to its tables follow one another without "
            f"a gap. Let those that last for longer than {conf.lock:g} s pause for a "
            "moment."
        ) from busy

    def _closed(self, direction: Direction, until: float) -> None:
        """With the source closed, all who wrote are done, and their marks are there."""
        touched: dict[str, set[Key]] = {}
        while True:
            number, followed = syncing.follow(direction, IN_CLOSED, IN_CLOSED)
            for tab, keys in followed.items():
                touched.setdefault(tab, set()).update(keys)
            if not number:
                break
            if time.monotonic() > until:
                raise TooSlow("Following what was written last took too long.")
        for tab, keys in touched.items():
            found = verifying.compare(direction, direction.ways[tab], sorted(keys))
            if differences.note(self.move, len(keys), found):
                raise MoveRefused(
                    f"The move {self.move.name!r} does not switch: rows of {tab} "
                    "that were written last differ. Look at them, then run: manage.py "
                    f"strangler_moves verify {self.move.name} --repair"
                )
        self._number(direction, 0, before=False)
        direction.target.open(direction.epoch, over=direction.over)
        settle(self._state.get(), direction_of(self.move, {}))

    def _number(self, direction: Direction, ahead: int, *, before: bool) -> None:
        """Let new rows get numbers that the other side has never given."""
        for way in direction.ways.values():
            for old, new in way.numbered.items():
                least = way.source.next_number(way.name, old)
                given = way.target.next_number(way.into, new)
                if before and ahead:
                    if given < least + ahead // 2:
                        way.target.skip_numbers(way.into, new, least + ahead)
                elif not before and not direction.target.numbers_before:
                    # Fenced, as opening is: where another switch has opened it, rows
                    # have got these numbers by now.
                    with direction.target.writing(direction.epoch):
                        way.target.skip_numbers(way.into, new, max(least, given))
                elif not before and given < least:
                    raise TooSlow(f"{way.into} got many rows; its numbers follow.")


def settle(state: MoveState, direction: Direction) -> None:
    """Let the books say what the sides say."""
    stage = Stage.BACK if direction.primary == MODERN else Stage.FOLLOWING
    # Whoever slept meanwhile brings no ended move back.
    rows = MoveState.objects.using(state._state.db).filter(
        pk=state.pk, stage=state.stage
    )
    if state.stage in (Stage.FOLLOWING, Stage.BACK) and state.stage != stage:
        anew = dict[str, object](stage=stage, goal="", verified_at=None, validated={})
        for name, value in anew.items():
            setattr(state, name, value)
        rows.update(**anew, switched_at=DatabaseNow())
    elif state.goal == direction.primary:
        rows.update(goal="")


def take_back(direction: Direction, token: int) -> None:
    """Open the source again. First nobody may open the target who thought of it."""
    direction.target.revoke(over=direction.over)
    direction.source.reopen(token)


def reopen(move: type[Move]) -> None:
    """Nobody wants to switch, and the source is closed: take the closing over."""
    direction = direction_of(move)
    take_back(direction, direction.source.close(settings().lock))


def is_first(move: type[Move], hold: Hold) -> bool:
    """Whether this hold is the one that works: who switches, then who came first."""
    live = _live(move).order_by("-switches", "id")
    first = live.values_list("token", flat=True).first()
    return first is None or first == hold.token


def is_switching(move: type[Move]) -> bool:
    """Whether a living process is at it."""
    return _live(move).filter(switches=True).exists()


def _live(move: type[Move]) -> QuerySet[Mover]:
    rows = Mover.objects.using(move.source)
    return rows.filter(move=move.name, expires_at__gt=DatabaseNow())


GOALS = (LEGACY, MODERN)
