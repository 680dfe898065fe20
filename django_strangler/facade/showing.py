"""Routes on strangler's page and on its board, and what came of their requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db import router
from django.http import HttpRequest

from django_strangler import evidence
from django_strangler.exceptions import StranglerError
from django_strangler.feature_flags import wording
from django_strangler.feature_flags.models import Flag
from django_strangler.monitoring.board import Shown, domain_of_module

MOST = 100  # Routes that are shown.


def data(request: HttpRequest) -> Mapping[str, Any]:
    """A row per route: its flag, and both sides in the last five minutes."""
    from .routes import routes

    found = sorted(routes, key=lambda each: each.name)[:MOST]
    names = {route.flag for route in found}
    flags = {flag.name: flag for flag in Flag.objects.filter(name__in=names)}
    rows = []
    for route in found:
        flag = flags.get(route.flag)
        seen = evidence.seen(route.source, since=timedelta(minutes=5))
        rows.append(
            {
                "route": route,
                "rollout": flag.rollout() if flag is not None and flag.enabled else 0,
                "legacy": seen["legacy"],
                "modern": seen["modern"],
            }
        )
    return {"rows": rows}


def shown() -> Iterator[Shown]:
    """For the board: each route with its service and flag, in one query."""
    from .routes import routes

    found = sorted(routes, key=lambda each: each.name)
    names = {route.flag for route in found}
    flags = {}
    if names:
        rows = Flag.objects.using(router.db_for_write(Flag))
        flags = {flag.name: flag for flag in rows.filter(name__in=names)}
    for route in found:
        flag = flags.get(route.flag)
        yield Shown(
            domain=domain_of_module(route.module),
            name=route.name,
            text=f"{route.where} to {route.service}, {_share(flag)}{route.flag}",
            sources=(route.source,),
            quiet=(route.source,),  # Failures, and what fell back to legacy.
            flags=(route.flag,),
            shadows=(route.shadow,) if route.shadow else (),
        )


def _share(flag: Flag | None) -> str:
    try:
        rollout = flag.rollout() if flag is not None and flag.enabled else Decimal()
    except StranglerError:
        return ""  # What is wrong with it stands beside the flag.
    return f"{wording.percent(rollout)} modern by "
