"""Feature flags: one user, one answer, here and in nginx."""

from __future__ import annotations

from .attribution import attributed_to
from .changes import (
    disable,
    enable,
    exclude,
    hold_ramp,
    include,
    release,
    resume_ramp,
    rollback,
    set_rollout,
    start_ramp,
)
from .decorators import flag_required
from .evaluation import counts, evaluate, is_enabled
from .gates import Decision

__all__ = [
    "Decision",
    "attributed_to",
    "counts",
    "disable",
    "enable",
    "evaluate",
    "exclude",
    "flag_required",
    "hold_ramp",
    "include",
    "is_enabled",
    "release",
    "resume_ramp",
    "rollback",
    "set_rollout",
    "start_ramp",
]
