"""
The gates of a flag, asked in this order; the first that knows an answer gives it:

1. off switch: a flag that is off is off for everybody;
2. excluded ids: off for them, even at 100 %;
3. included ids: on for them, even at 0 %;
4. percentage: of a ramp if there is one, by its clock.

A gate reads the flag and the subject's id, and nothing else: neither a group nor a
request can make an instance and its id differ.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from .buckets import EVERYBODY, bucket

Reason = Literal[
    "off",
    "excluded",
    "included",
    "everybody",  # 100 %
    "nobody",  # 0 %
    "percentage",
    "no-subject",  # Nobody to hash: on the legacy side below 100 %.
    "unknown",  # There is no such flag.
    "unavailable",  # No flags could ever be read.
    "override",  # A test said so.
]

# The same in the words of OpenFeature and OpenTelemetry.
STANDARD_REASONS: dict[Reason, str] = {
    "off": "disabled",
    "excluded": "targeting_match",
    "included": "targeting_match",
    "everybody": "static",
    "nobody": "static",
    "percentage": "split",
    "no-subject": "default",
    "unknown": "default",
    "unavailable": "error",
    "override": "static",
}

# On or off, why, and the place if it was needed. A plain tuple: each check makes one.
Ruling: TypeAlias = "tuple[bool, Reason, int | None]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A flag's answer for one subject: pass it on, so that one request asks once."""

    name: str
    enabled: bool
    reason: Reason
    bucket: int | None = None  # The subject's place; None if nothing had to be hashed.
    version: str = ""  # Of all flags; equal versions mean equal flags.

    def __bool__(self) -> bool:
        return self.enabled


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A flag as its gates read it."""

    enabled: bool
    salt: str
    threshold: int
    excluded: frozenset[str] = frozenset()
    included: frozenset[str] = frozenset()
    # Of a ramp that runs: from this second on, this threshold.
    steps: tuple[tuple[float, int], ...] = ()
    gates: tuple[Gate, ...] = field(init=False)

    def __post_init__(self) -> None:
        # A gate that has nothing to say is not asked.
        asked: list[Gate] = [] if self.enabled else [off_switch]
        asked += [exclusion] if self.excluded else []
        asked += [inclusion] if self.included else []
        object.__setattr__(self, "gates", (*asked, percentage))

    def decide(self, subject: str) -> Ruling:
        """Ask the gates in their order; the last one always answers."""
        for gate in self.gates:
            verdict = gate(self, subject)
            if verdict is not None:
                return verdict
        raise AssertionError("the percentage gate always answers")


Gate: TypeAlias = "Callable[[Rules, str], Ruling | None]"

OFF: Ruling = (False, "off", None)
EXCLUDED: Ruling = (False, "excluded", None)
INCLUDED: Ruling = (True, "included", None)
ALL: Ruling = (True, "everybody", None)
NONE: Ruling = (False, "nobody", None)
NO_SUBJECT: Ruling = (False, "no-subject", None)
UNKNOWN: Ruling = (False, "unknown", None)
UNAVAILABLE: Ruling = (False, "unavailable", None)


def off_switch(rules: Rules, subject: str) -> Ruling | None:
    return None if rules.enabled else OFF


def exclusion(rules: Rules, subject: str) -> Ruling | None:
    return EXCLUDED if subject in rules.excluded else None


def inclusion(rules: Rules, subject: str) -> Ruling | None:
    return INCLUDED if subject in rules.included else None


def percentage(rules: Rules, subject: str) -> Ruling:
    threshold = threshold_at(rules, time.time()) if rules.steps else rules.threshold
    if threshold == EVERYBODY:
        return ALL
    if not threshold:
        return NONE
    # The empty text hashes to 0, which would be in the first of all.
    if not subject:
        return NO_SUBJECT
    place = bucket(rules.salt, subject)
    return place < threshold, "percentage", place


def threshold_at(rules: Rules, now: float) -> int:
    """A ramp's threshold; before its first step, the flag's own."""
    reached = rules.threshold
    for second, threshold in rules.steps:
        if second > now:
            break
        reached = threshold
    return reached


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The flags of one stamp."""

    stamp: str | None
    flags: Mapping[str, Rules]
