"""
What goes wrong with which step: the seed decides.

A fifth of all steps and of all undos fail, each in one of these ways. Two of them are
the network's: it is deaf to each command, or mute for each reply.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

SHARE = 0.2
TIMEOUT = 2.0  # Seconds.
DEATHS = 0.04  # Of those that fail: each costs a start of a process.
WAYS = (
    "refuses",
    "fails now and then",
    "fails at the first try",
    "fails at each try",
    "is slow",
    "is never asked",
    "is never heard",
)
DIES = "dies in the middle"


class Clumsy(Exception):
    """A participant fails after its work, which must be undone."""


def fate(seed: str, order: int, step: str, *, undoing: bool) -> str:
    """In which way this step of this order fails; empty: it does not."""
    chance = random.Random(f"{seed} {order} {step} {undoing}")
    if chance.random() >= SHARE:
        return ""
    return DIES if chance.random() < DEATHS else chance.choice(WAYS)


def hurry() -> None:
    """Nobody waits for an hour here."""
    from django_strangler.sagas.definitions import registry

    for cls in registry.all().values():
        cls.steps = tuple(
            replace(each, timeout=TIMEOUT, retries=min(each.retries, 3))
            for each in cls.steps
        )


def make_participants_fail(seed: str) -> None:
    """Wrap what they do, and what they undo."""
    from django_strangler.sagas.exceptions import Refused
    from django_strangler.sagas.participants import Participant

    def clumsily(function: Callable[[Any], Any], *, undoing: bool) -> Any:
        def work(command: Any) -> Any:
            way = fate(seed, command.payload["order"], command.step, undoing=undoing)
            is_first = command.attempt == 0
            if way == "is slow" and is_first:
                time.sleep(1.5 * TIMEOUT)
            done = function(command)
            if way == "refuses":
                raise Refused("As it was written in the stars.")
            if (
                way == "fails at each try"
                or (way == "fails at the first try" and is_first)
                or (way == "fails now and then" and random.random() < 0.5)
            ):
                raise Clumsy
            if way == DIES and _for_the_first_time(f"{command.op} {undoing}"):
                os._exit(9)
            return done

        return work

    begin, undo = Participant.__init__, Participant.undo

    def begin_clumsily(self: Any, do: Any, *arguments: Any) -> None:
        begin(self, do, *arguments)
        self._do = clumsily(do, undoing=False)

    def undo_clumsily(self: Any, function: Any) -> Any:
        undo(self, clumsily(function, undoing=True))
        return function

    Participant.__init__ = begin_clumsily  # type: ignore[method-assign]
    Participant.undo = undo_clumsily  # type: ignore[method-assign]


def _for_the_first_time(name: str) -> bool:
    try:
        (Path(os.environ["TORTURE_LOGS"]) / f"died-{name}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
