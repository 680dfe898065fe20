"""
Evidence of what nginx carried: Django does not see those answers, nginx's log does.

    tail -F /var/log/nginx/strangler.log | manage.py strangler_nginx --read-log
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from django_strangler import evidence

from .routes import Route, routes

CLIENT_LEFT = 499  # nginx's own: it says nothing about the service.

_LINE = re.compile(r"strangler ([a-z0-9-]{1,100}) modern ([1-5]\d\d) (\d+\.\d+)")


class Entry(NamedTuple):
    """One answer of a modern side."""

    route: str
    status: int
    seconds: float


def format_of(route: Route) -> str:
    """The format of a route's lines, as nginx wants it."""
    return f"'strangler {route.name} $sent_http_strangler_side $status $request_time'"


def parse(line: str) -> Entry | None:
    """The answer in a line; None for one that tells of none."""
    found = _LINE.fullmatch(line.strip())
    if found is None:
        return None
    return Entry(found[1], int(found[2]), float(found[3]))


def read(lines: Iterable[str]) -> int:
    """Note what is in the lines; returns how many answers that were."""
    noted = 0
    for line in lines:
        entry = parse(line)
        if entry is None or entry.status == CLIENT_LEFT:
            continue
        route = routes.by_name.get(entry.route)
        if route is not None:
            evidence.note(
                route.source,
                side="modern",
                ok=entry.status < 500,
                seconds=entry.seconds,
            )
            noted += 1
    return noted
