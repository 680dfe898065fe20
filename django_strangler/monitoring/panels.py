"""Panels: what the apps show on strangler's page of the admin."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from django_strangler.announcing import Announcer

logger = logging.getLogger("django_strangler.monitoring")


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One part of the page, for users who have the permission."""

    name: str
    title: str
    permission: str  # Such as "strangler_facade.view_route".
    data: Callable[[HttpRequest], Mapping[str, Any]]
    template: str  # Is given ``data`` and ``panel``.
    order: int = 50  # Smaller ones come first; the core's own are above all.


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A panel with what was found for this user; without, where that failed."""

    panel: Panel
    data: Mapping[str, Any] | None


def register(panel: Panel) -> None:
    """Let the page show this panel."""
    _panels[panel.name] = panel


def shown(request: HttpRequest) -> Iterator[Filled]:
    """What this user may see. Nothing is read that is not shown."""
    for panel in sorted(_panels.values(), key=lambda each: (each.order, each.name)):
        if request.user.has_perm(panel.permission):
            try:
                data = panel.data(request)
            except Exception as error:  # noqa: BLE001  The others are still of use.
                _trouble.error(
                    panel.name,
                    "The panel %r cannot be shown: %s",
                    panel.name,
                    error,
                    exc_info=error,
                )
                data = None
            yield Filled(panel=panel, data=data)


_panels: dict[str, Panel] = {}
_trouble = Announcer(logger)
