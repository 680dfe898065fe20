"""
How strict a breaker is, and how a person changes that within a second: by a flag.

The setting ``BREAKER`` is in force unless one of these flags is on for everybody; asked
in this order: ``breaker-<service>-off``, ``…-forced-open``, ``…-enforced`` and
``…-observed``.
So a switch has a history, an undo and a permission, as every flag has.
"""

from __future__ import annotations

import enum

from django_strangler.feature_flags import evaluation, snapshot


class Mode(enum.Enum):
    OFF = "off"  # Neither counts nor refuses.
    FORCED_OPEN = "forced-open"  # Refuses everything.
    ENFORCED = "enforced"
    OBSERVED = "observed"  # Counts, and says what it would refuse.


def current(name: str, setting: str) -> Mode:
    """The mode of a service's breaker now."""
    known = snapshot.current()
    flags = known.flags if known is not None else {}
    for mode, flag in _switches(name):
        if flag in evaluation.overrides:
            if evaluation.overrides[flag]:
                return mode
        elif flag in flags and flags[flag].decide("")[0]:
            return mode
    return Mode(setting)


def _switches(name: str) -> tuple[tuple[Mode, str], ...]:
    found = _names.get(name)
    if found is None:
        found = tuple((mode, f"breaker-{name}-{mode.value}") for mode in Mode)
        _names[name] = found
    return found


_names: dict[str, tuple[tuple[Mode, str], ...]] = {}
