"""Feature flags: one user, one answer, here and in nginx."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

if TYPE_CHECKING:
    from . import buckets
    from .attribution import attributed_to
    from .changes import (
        disable,
        enable,
        exclude,
        hold_ramp,
        include,
        release,
        release_step,
        resume_ramp,
        rollback,
        set_rollout,
        start_ramp,
    )
    from .cohorts import Cohort, cohort
    from .decorators import flag_required
    from .evaluation import aevaluate, ais_enabled, counts, evaluate, is_enabled
    from .gates import Decision
    from .guards import remove_guard, resume, set_guard

__all__ = [
    "Cohort",
    "Decision",
    "aevaluate",
    "ais_enabled",
    "attributed_to",
    "buckets",
    "cohort",
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
    "release_step",
    "remove_guard",
    "resume",
    "resume_ramp",
    "rollback",
    "set_guard",
    "set_rollout",
    "start_ramp",
]

# django.setup() loads this folder for its models, and would load opentelemetry with
# it, in every process.
if not TYPE_CHECKING:  # Or every name would pass for one of these.
    __getattr__, __dir__ = face(
        __name__,
        {
            "Cohort": ".cohorts",
            "Decision": ".gates",
            "aevaluate": ".evaluation",
            "ais_enabled": ".evaluation",
            "attributed_to": ".attribution",
            "buckets": ".buckets",
            "cohort": ".cohorts",
            "counts": ".evaluation",
            "disable": ".changes",
            "enable": ".changes",
            "evaluate": ".evaluation",
            "exclude": ".changes",
            "flag_required": ".decorators",
            "hold_ramp": ".changes",
            "include": ".changes",
            "is_enabled": ".evaluation",
            "release": ".changes",
            "release_step": ".changes",
            "remove_guard": ".guards",
            "resume": ".guards",
            "resume_ramp": ".changes",
            "rollback": ".changes",
            "set_guard": ".guards",
            "set_rollout": ".changes",
            "start_ramp": ".changes",
        },
    )
