"""Experiments and branches: run old and new, compare, and never let it show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

if TYPE_CHECKING:
    from .branches import branch
    from .exceptions import InvalidExperiment, MismatchFound
    from .factory import experiment
    from .shadowing import shadow
    from .testing import experiments_raise

__all__ = [
    "InvalidExperiment",
    "MismatchFound",
    "branch",
    "experiment",
    "experiments_raise",
    "shadow",
]

# Django imports this package before its models may be loaded.
if not TYPE_CHECKING:  # Or every name would pass for one of these.
    __getattr__, __dir__ = face(
        __name__,
        {
            "InvalidExperiment": ".exceptions",
            "MismatchFound": ".exceptions",
            "branch": ".branches",
            "experiment": ".factory",
            "experiments_raise": ".testing",
            "shadow": ".shadowing",
        },
    )
