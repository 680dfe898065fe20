"""Feature flags: one user, one answer, here and in nginx."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

if TYPE_CHECKING:
    from . import buckets as buckets
    from .attribution import attributed_to as attributed_to
    from .changes import disable as disable
    from .changes import enable as enable
    from .changes import exclude as exclude
    from .changes import hold_ramp as hold_ramp
    from .changes import include as include
    from .changes import release as release
    from .changes import release_step as release_step
    from .changes import resume_ramp as resume_ramp
    from .changes import rollback as rollback
    from .changes import set_rollout as set_rollout
    from .changes import start_ramp as start_ramp
    from .cohorts import Cohort as Cohort
    from .cohorts import cohort as cohort
    from .decorators import flag_required as flag_required
    from .evaluation import aevaluate as aevaluate
    from .evaluation import ais_enabled as ais_enabled
    from .evaluation import counts as counts
    from .evaluation import evaluate as evaluate
    from .evaluation import is_enabled as is_enabled
    from .gates import Decision as Decision
    from .guards import remove_guard as remove_guard
    from .guards import resume as resume
    from .guards import set_guard as set_guard


# django.setup() loads this folder for its models, and would load opentelemetry with
# it, in every process.
if not TYPE_CHECKING:  # Or every name would pass for one of these.
    __all__, __getattr__, __dir__ = face(
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
