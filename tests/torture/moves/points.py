"""
Where a mover or a switch is made to die, or to stand still: exactly there.

    TORTURE_POINT=stop:before-the-lock:3 python -m django strangler_moves run torture

Armed while the process starts, by the app. Death is as by kill -9; who stands still
goes on when somebody sends SIGCONT.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from importlib import import_module
from typing import Any

CRASHED = 86  # The exit status that says: it got there.

# Where: the module, class and function, and before or after it.
MOVER = {
    "before-a-transaction": ("sides.base:DatabaseSide.writing", "before"),
    "before-the-lock": ("sides.base:DatabaseSide._lock", "before"),
    "after-the-lock": ("sides.base:DatabaseSide._lock", "after"),
    "after-the-read": ("ways:Way.convert", "before"),
    "before-the-commit": ("sides.base:DatabaseSide._end", "before"),
    "before-marks-go": ("sides.base:DatabaseSide.delete_marks", "before"),
    "after-marks-went": ("sides.base:DatabaseSide.delete_marks", "after"),
}
SWITCH = {
    "before-closing": ("sides.base:DatabaseSide.close", "before"),
    "closed": ("sides.base:DatabaseSide.close", "after"),
    "drained": ("switching:Switch._number", "last"),
    "before-opening": ("sides.base:DatabaseSide.open", "before"),
    "opened": ("sides.base:DatabaseSide.open", "after"),
}
POINTS = MOVER | SWITCH


def arm(text: str) -> None:
    """``die`` or ``stop``, the point, and the how manieth time: with colons between."""
    what, name, count = text.split(":")
    path, when = POINTS[name]
    module, _, attribute = path.partition(":")
    cls, _, function = attribute.partition(".")
    owner = getattr(import_module(f"django_strangler.moves.{module}"), cls)
    calls = itertools.count(1)

    def harm() -> None:
        if next(calls) == int(count):
            if what == "die":
                os._exit(CRASHED)
            os.kill(os.getpid(), signal.SIGSTOP)

    for each in (*owner.__mro__, *owner.__subclasses__()):
        if function in vars(each):
            setattr(each, function, _harmed(getattr(each, function), when, harm))


def _harmed(
    function: Callable[..., Any], when: str, harm: Callable[[], None]
) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        if when == "before" or (when == "last" and not options["before"]):
            harm()
        result = function(*args, **options)
        if when == "after":
            harm()
        return result

    return call
