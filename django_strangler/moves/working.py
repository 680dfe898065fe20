"""What each process at a move or a capture has: a hold, and perhaps a trouble."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import ClassVar

from django_strangler.announcing import Announcer
from django_strangler.exceptions import StranglerError
from django_strangler.holding import Hold
from django_strangler.printable import printable

from .conf import settings
from .models import Mover

logger = logging.getLogger("django_strangler.moves")


def hold_of(name: str, source: str, *, length: float, switches: bool = False) -> Hold:
    """A hold on a move or a capture."""
    rows = Mover.objects.using(source)
    return Hold(
        lambda: rows.filter(move=name),
        length=length,
        values={"move": name, "switches": switches},
    )


class Worker(ABC):
    """One process at one of them. Its hold tells others that it lives."""

    what: ClassVar[str]

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self._hold = hold_of(name, source, length=settings().lease)
        self._rows = Mover.objects.using(source)
        self._told: tuple[object, str] | None = None
        self._trouble = Announcer(logger)

    @abstractmethod
    def step(self) -> float:
        """Do what is due; says how long there is nothing more to do."""

    @abstractmethod
    def recover(self) -> None:
        """After an error look at everything anew; the hold goes on."""

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
