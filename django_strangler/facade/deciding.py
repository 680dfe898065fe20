"""One decision for all data paths: which side serves this request."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from django.http import HttpRequest

from django_strangler import feature_flags
from django_strangler.feature_flags import evaluation, snapshot
from django_strangler.feature_flags.buckets import EVERYBODY

from .paths import is_odd, is_odd_query, raw_path
from .routes import Route
from .subjects import subject_of

FALLBACK = "HTTP_STRANGLER_FALLBACK"  # nginx sets it, and sets it anew for clients.


class Side(enum.Enum):
    LEGACY = "legacy"
    MODERN = "modern"


@dataclass(frozen=True, slots=True)
class Decision:
    """Which side, and what of the request the modern one gets."""

    side: Side
    target: str = ""  # The path and the query, as they go on the wire.
    by_subject: bool = False  # Another subject may get another answer.
    is_fallback: bool = False  # nginx could not reach the modern side.
    version: str = ""  # Of the flags that it was made by.


LEGACY = Decision(Side.LEGACY)
FALLEN_BACK = Decision(Side.LEGACY, is_fallback=True)


def decide(request: HttpRequest, route: Route, raw: str | None = None) -> Decision:
    """The side of a request; ``raw`` is its path if the request is about another."""
    if request.META.get(FALLBACK):
        return FALLEN_BACK
    if route.methods and request.method not in route.methods:
        return LEGACY
    depends = depends_on_subject(route.flag)
    subject = subject_of(request, route) if depends else None
    answer = feature_flags.evaluate(route.flag, subject)
    if not answer:
        return Decision(Side.LEGACY, by_subject=True) if depends else LEGACY
    raw = raw_path(request) if raw is None else raw
    target = None if is_odd(raw) else route.target(raw)
    query = request.META.get("QUERY_STRING", "")
    if target is None or is_odd_query(query):
        return LEGACY
    return Decision(
        Side.MODERN,
        f"{target}?{query}" if query else target,
        by_subject=depends,
        version=answer.version,
    )


def depends_on_subject(flag: str) -> bool:
    """Whether it matters who asks: if not, nobody's session need be read."""
    if flag in evaluation.overrides:
        return False
    known = snapshot.current()
    rules = known.flags.get(flag) if known is not None else None
    if rules is None or not rules.enabled:
        return False
    return bool(
        rules.included
        or rules.excluded
        or rules.steps
        or 0 < rules.threshold < EVERYBODY
    )
