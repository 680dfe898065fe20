"""
`manage.py strangler_moves` that dies at a point, as if by kill -9.

    python -m tests.moves.die closed switch payments --to modern
"""

from __future__ import annotations

import os
import sys
from typing import Any

import django

POINTS = {
    "locked": ("base.DatabaseSide", "_lock", "after"),
    "read": ("ways.Way", "convert", "before"),
    "written": ("base.DatabaseSide", "_end", "before"),
    "committed": ("base.DatabaseSide", "_after", "before"),
    "closed": ("base.DatabaseSide", "close", "after"),
    "drained": ("switching.Switch", "_number", "in closed"),
    "opening": ("base.DatabaseSide", "open", "before"),
    "opened": ("base.DatabaseSide", "open", "after"),
}


def main(point: str, *command: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.moves.settings")
    django.setup()
    from django.core.management import call_command

    from django_strangler.moves import switching, ways
    from django_strangler.moves.sides import base

    where, name, when = POINTS[point]
    module, _, cls = where.partition(".")
    owner = getattr({"base": base, "ways": ways, "switching": switching}[module], cls)
    patch(owner, name, when)
    call_command("strangler_moves", *command)


def patch(owner: type, name: str, when: str) -> None:
    original = getattr(owner, name)

    def dying(*args: Any, **kwargs: Any) -> Any:
        if when == "before" or (when == "in closed" and not kwargs["before"]):
            os._exit(9)
        found = original(*args, **kwargs)
        if when == "after":
            os._exit(9)
        return found

    for each in (*owner.__mro__, *owner.__subclasses__()):
        if name in vars(each):
            setattr(each, name, dying)


if __name__ == "__main__":
    main(*sys.argv[1:])
