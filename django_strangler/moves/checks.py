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
    return [*_check_declarations(), *_check_captures(), *_check_router()]


def _check_declarations() -> Iterator[CheckMessage]:
    for move in registry.values():
        for alias in (move.source, move.target):
            if alias not in connections:
                yield Error(
                    f"The move {move.name!r} names the database {alias!r}, which "
                    "DATABASES does not have.",
                    hint="Add it, or correct source= or target=.",
                    id="strangler_moves.E001",
                )
        for table in move.tables:
            try:
                names(table)
            except InvalidMove as error:
                yield Error(str(error), id="strangler_moves.E002")


def _check_captures() -> Iterator[CheckMessage]:
    for capture in captures.values():
        if capture.source not in connections:
            yield Error(
                f"The capture {capture.name!r} names the database "
                f"{capture.source!r}, which DATABASES does not have.",
                hint="Add it, or correct source=.",
                id="strangler_moves.E001",
            )
        if capture.name in registry:
            yield Error(
                f"A move and a capture are both named {capture.name!r}.",
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
