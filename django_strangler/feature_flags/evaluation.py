"""Asking: one subject, one answer, seen by traces and counted."""

from __future__ import annotations

import logging
import os
from asyncio import _get_running_loop
from functools import lru_cache

from asgiref.sync import sync_to_async

from django_strangler import counting, extending, tracing
from django_strangler.exceptions import InsideEventLoop

from . import snapshot
from .gates import (
    STANDARD_REASONS,
    UNAVAILABLE,
    UNKNOWN,
    Decision,
    Reason,
    Ruling,
)
from .rules import Subject, subject_text

logger = logging.getLogger("django_strangler.feature_flags")

MAX_UNKNOWN = 1000  # Names that are remembered, should a program make them up.

# Set by tests: on or off for everybody.
overrides: dict[str, bool] = {}

decisions = counting.counter(
    "flag_decisions", "on, off or default.", ("flag", "outcome")
)
_missed: set[str] = set()
_unknown: set[str] = set()  # And said.


def is_enabled(name: str, user: Subject, default: bool = False) -> bool:
    """
    Whether the modern path serves this user: a user, an id, or None for nobody.

    ``default`` is the answer if there is no such flag, or if none could ever be read.
    """
    (enabled, reason, _), _version = _ask(name, user)
    if reason == "unknown" or reason == "unavailable":
        enabled = bool(default)
    tracing.flag_evaluated(name, enabled, STANDARD_REASONS[reason])
    if extending.flag_watchers:
        _tell(name, enabled, reason)
    return enabled


def evaluate(name: str, user: Subject) -> Decision:
    """
    The answer with its reason, to pass on: ``publish_event(…, flags=[decision])``.

    A flag that does not exist is off.
    """
    (enabled, reason, bucket), version = _ask(name, user)
    tracing.flag_evaluated(name, enabled, STANDARD_REASONS[reason])
    if extending.flag_watchers:
        _tell(name, enabled, reason)
    if bucket is None:
        return _same_for_many(name, enabled, reason, version)
    return Decision(
        name=name, enabled=enabled, reason=reason, bucket=bucket, version=version
    )


async def ais_enabled(name: str, user: Subject, default: bool = False) -> bool:
    """``is_enabled`` for async code."""
    # In a thread that may query: for the flags, and for a request.user that is lazy.
    return await sync_to_async(is_enabled)(name, user, default)


async def aevaluate(name: str, user: Subject) -> Decision:
    """``evaluate`` for async code."""
    return await sync_to_async(evaluate)(name, user)


@lru_cache(maxsize=1000)
def _same_for_many(name: str, enabled: bool, reason: Reason, version: str) -> Decision:
    # A frozen value takes a microsecond to make, as long as all the rest of a check.
    return Decision(name=name, enabled=enabled, reason=reason, version=version)


def counts() -> dict[tuple[str, ...], float]:
    """Answers of this process by flag and outcome: ``on``, ``off`` or ``default``."""
    return decisions.values()


def _ask(name: str, user: Subject) -> tuple[Ruling, str]:
    # Always, not only when the flags have to be read again: what passes its tests must
    # not fail a second later.
    if _get_running_loop() is not None:
        _refuse_in_event_loop(name)
    subject = subject_text(user)
    if overrides and name in overrides:
        return (overrides[name], "override", None), ""
    known = snapshot.current()
    if known is None:
        return _missing(name, UNAVAILABLE), ""
    rules = known.flags.get(name)
    if rules is None:
        return _missing(name, UNKNOWN), known.stamp or ""
    verdict = rules.decide(subject)
    decisions.add(name, "on" if verdict[0] else "off")
    return verdict, known.stamp or ""


def _tell(name: str, enabled: bool, reason: Reason) -> None:
    for watch in extending.flag_watchers:
        watch(name, enabled, reason)


def _refuse_in_event_loop(name: str) -> None:
    if os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE"):  # In a notebook, say.
        return
    raise InsideEventLoop(
        f"The flag {name!r} was asked in async code, where Django cannot query. Write: "
        f"await feature_flags.ais_enabled({name!r}, user), or aevaluate() for the "
        "decision."
    )


def _missing(name: str, verdict: Ruling) -> Ruling:
    is_new = name not in _missed
    if is_new and len(_missed) >= MAX_UNKNOWN:
        decisions.add("others", "default")
        return verdict
    _missed.add(name)
    decisions.add(name, "default")
    if verdict is UNKNOWN and name not in _unknown:
        _unknown.add(name)
        logger.warning(
            "There is no flag %r, so checks get their default=. This is said once. "
            "Create it with: manage.py flag set %s 0",
            name,
            name,
        )
    return verdict
