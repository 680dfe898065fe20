"""Feature flags: one user, one answer, here and in nginx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

# Resolved when used: django.setup() loads this folder for its models, and would load
# opentelemetry with it, in every process.
_HOMES = {
    "Decision": "gates",
    "attributed_to": "attribution",
    "counts": "evaluation",
    "evaluate": "evaluation",
    "flag_required": "decorators",
    "is_enabled": "evaluation",
}

if not TYPE_CHECKING:  # Or every name would pass for one of these.

    def __getattr__(name: str) -> Any:
        from importlib import import_module

        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = import_module(f"{__name__}.{_HOMES.get(name, 'changes')}")
        # Kept: each view asks, and this way round costs as much as an answer.
        value = globals()[name] = getattr(home, name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
