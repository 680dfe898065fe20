"""Asking: one subject, one answer, seen by traces and counted."""

from __future__ import annotations

import logging
from collections import defaultdict
from functools import lru_cache

from django_strangler import tracing

from . import snapshot
from .gates import (
    STANDARD_REASONS,
    UNAVAILABLE,
    UNKNOWN,
    Decision,
    Reason,
    Verdict,
)
from .rules import Subject, subject_text

logger = logging.getLogger("django_strangler.feature_flags")

MAX_UNKNOWN = 1000  # Names that are remembered, should a program make them up.

# Set by tests: on or off for everybody.
overrides: dict[str, bool] = {}

_on: defaultdict[str, int] = defaultdict(int)
_off: defaultdict[str, int] = defaultdict(int)
_defaulted: defaultdict[str, int] = defaultdict(int)
_unknown: set[str] = set()


def is_enabled(name: str, user: Subject, default: bool = False) -> bool:
    """
    Whether the modern path serves this user: a user, an id, or None for nobody.

    ``default`` is the answer if there is no such flag, or if none could ever be read.
    """
    (enabled, reason, _), _version = _ask(name, user)
    if reason == "unknown" or reason == "unavailable":
        enabled = bool(default)
    tracing.flag_evaluated(name, enabled, STANDARD_REASONS[reason])
    return enabled


def evaluate(name: str, user: Subject) -> Decision:
    """
    The answer with its reason, to pass on: ``publish_event(…, flags=[decision])``.

    A flag that does not exist is off.
    """
    (enabled, reason, bucket), version = _ask(name, user)
    tracing.flag_evaluated(name, enabled, STANDARD_REASONS[reason])
    if bucket is None:
        return _same_for_many(name, enabled, reason, version)
    return Decision(
        name=name, enabled=enabled, reason=reason, bucket=bucket, version=version
    )


@lru_cache(maxsize=1000)
def _same_for_many(name: str, enabled: bool, reason: Reason, version: str) -> Decision:
    # A frozen value takes a microsecond to make, as long as all the rest of a check.
    return Decision(name=name, enabled=enabled, reason=reason, version=version)


def counts() -> dict[tuple[str, str], int]:
    """Answers of this process by flag and outcome: ``on``, ``off`` or ``default``."""
    return {
        (name, outcome): number
        for outcome, numbers in (("on", _on), ("off", _off), ("default", _defaulted))
        for name, number in numbers.copy().items()
    }


def _ask(name: str, user: Subject) -> tuple[Verdict, str]:
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
    # Without a lock: between reading and writing an int, CPython switches no threads.
    if verdict[0]:
        _on[name] += 1
    else:
        _off[name] += 1
    return verdict, known.stamp or ""


def _missing(name: str, verdict: Verdict) -> Verdict:
    if name in _defaulted or len(_defaulted) < MAX_UNKNOWN:
        _defaulted[name] += 1
    if verdict is UNKNOWN and name not in _unknown and len(_unknown) < MAX_UNKNOWN:
        _unknown.add(name)
        logger.warning(
            "There is no flag %r, so checks get their default=. This is said once. "
            "Create it with: manage.py flag set %s 0",
            name,
            name,
        )
    return verdict
