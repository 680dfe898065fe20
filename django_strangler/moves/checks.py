"""System checks: what is wrong with moves, before one begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps.config import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connections

from .capturing import captures
from .declaring import registry
from .exceptions import InvalidMove
from .ways import names

ROUTER = "django_strangler.moves.Router"


@register(Tags.compatibility)
def check_moves(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """E001, E002 and W001, of moves and captures."""
    return [*_check_declarations(), *_check_router()]


def _check_declarations() -> Iterator[CheckMessage]:
    named = [(f"move {m.name!r}", m.source) for m in registry.values()]
    named += [(f"move {m.name!r}", m.target) for m in registry.values()]
    named += [(f"capture {c.name!r}", c.source) for c in captures.values()]
    for what, alias in named:
        if alias not in connections:
            yield Error(
                f"The {what} names the database {alias!r}, which DATABASES does not "
                "have.",
                hint="Add it, or correct source= or target=.",
                id="strangler_moves.E001",
            )
    for table in (table for move in registry.values() for table in move.tables):
        try:
            names(table)
        except InvalidMove as error:
            yield Error(str(error), id="strangler_moves.E002")
    for name in captures.keys() & registry.keys():
        yield Error(
            f"A move and a capture are both named {name!r}.",
            hint="Give the capture another name=.",
            id="strangler_moves.E002",
        )


def _check_router() -> Iterator[CheckMessage]:
    if registry and ROUTER not in settings.DATABASE_ROUTERS:
        yield Warning(
            "There are moves, and no router that sends their models where they live.",
            hint=f"Put {ROUTER!r} first into DATABASE_ROUTERS.",
            id="strangler_moves.W001",
        )
