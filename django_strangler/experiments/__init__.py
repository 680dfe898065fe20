"""Experiments and branches: run old and new, compare, and never let it show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_strangler.faces import face

if TYPE_CHECKING:
    from .branches import branch as branch
    from .exceptions import InvalidExperiment as InvalidExperiment
    from .exceptions import MismatchFound as MismatchFound
    from .factory import experiment as experiment
    from .shadowing import shadow as shadow
    from .testing import experiments_raise as experiments_raise


# Django imports this package before its models may be loaded.
if not TYPE_CHECKING:  # Or every name would pass for one of these.
    __all__, __getattr__, __dir__ = face(
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
