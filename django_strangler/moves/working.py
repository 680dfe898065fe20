"""What each process at a move or a capture has: a hold, and perhaps a trouble."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import ClassVar

from django_strangler.announcing import Announcer
from django_strangler.exceptions import StranglerError
from django_strangler.holding import Hold
from django_strangler.printable import printable

from . import counts
from .conf import settings
from .models import Mover, MoveState
from .sides import DatabaseSide

logger = logging.getLogger("django_strangler.moves")

TIDY = 20_000  # Marks.
LOOK = 0.2  # Seconds: who works, at what, and whether somebody switches.
TAKES = 0.25  # Seconds: what takes longer at once, is made smaller.


def hold_of(name: str, source: str, *, length: float, switches: bool = False) -> Hold:
    """A hold on a move or a capture."""
    rows = Mover.objects.using(source)
    return Hold(
        lambda: rows.filter(move=name),
        length=length,
        values={"move": name, "switches": switches},
    )


class Batch:
    """How much to do at once: meanwhile others wait for the lock, and a hold runs."""

    def __init__(self, first: int, most: int, takes: float = TAKES) -> None:
        self.size, self._most, self._takes = min(first, most), most, takes

    def fit(self, done: int, took: float) -> None:
        """So many took so many seconds; fewer than it only say when it is too many."""
        took *= min(1.0, self.size / max(done, 1))
        if took > 2 * self._takes:
            self.size = max(min(100, self._most), self.size // 2)
        elif took < self._takes and done >= self.size:
            self.size = min(self._most, self.size * 2)


class Worker(ABC):
    """One process at one of them. Its hold tells others that it lives."""

    what: ClassVar[str]

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self._hold = hold_of(name, source, length=settings().lease)
        self._rows = Mover.objects.using(source)
        self._states = MoveState.objects.using(source).filter(name=name)
        self._page = Batch(1000, settings().page)
        self._chunk = Batch(500, settings().chunk)
        self._idle = settings().poll
        self._look_at = self._copy_at = 0.0
        self._deleted = TIDY  # At first at once: nobody may ever have looked at them.
        self._told: tuple[object, str] | None = None
        self._trouble = Announcer(logger)

    @abstractmethod
    def step(self) -> float:
        """Do what is due; says how long there is nothing more to do."""

    @abstractmethod
    def recover(self) -> None:
        """After an error look at everything anew; the hold goes on."""

    def count(self, marks: int, side: DatabaseSide) -> None:
        """So many were followed; now and again their table needs to be tidied."""
        if not marks:
            return
        counts.rows.add(self.name, counts.FOLLOWED, n=marks)
        self._deleted += marks
        if self._deleted > TIDY:
            self._deleted = 0
            side.tidy()

    def keep(self) -> None:
        """Let the hold go on, if there is one: other work takes its time."""
        if self._hold.is_valid:
            self._hold.keep()

    def leave(self) -> None:
        """Let another one work at once."""
        self._hold.leave()

    def stand_still(self, error: Exception) -> float:
        """
        Say why: once in the log, and beside the hold for doctor and page.

        Returns when to try again: before the hold is over, which says that we live.
        """
        is_ours = isinstance(error, StranglerError)
        self._trouble.once(
            "still",
            "The %s %r stands still: %s",
            *(self.what, self.name, error),
            exc_info=None if is_ours else error,
        )
        # What a function of the project's raises may tell of a row.
        text = str(error) if is_ours else f"{type(error).__name__}; see its log."
        told = self._hold.token, printable(text)[:300]
        if told != self._told:
            self._rows.filter(token=told[0]).update(trouble=told[1])
            self._told = told
        return min(1.0, settings().lease / 3)

    def go_on(self) -> None:
        """It works."""
        if self._told:
            self._rows.filter(token=self._hold.token).update(trouble="")
            self._told = None
        self._trouble.over("still", "The %s %r goes on", self.what, self.name)
