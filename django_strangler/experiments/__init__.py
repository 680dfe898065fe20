"""Experiments and branches: run old and new, compare, and never let it show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

_HOMES = {
    "InvalidExperiment": "exceptions",
    "MismatchFound": "exceptions",
    "branch": "branches",
    "experiment": "factory",
    "experiments_raise": "testing",
    "shadow": "shadowing",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        # Resolved when used: Django imports this package before its models are ready.
        from importlib import import_module

        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
