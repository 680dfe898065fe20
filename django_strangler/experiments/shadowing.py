"""Comparing with what was answered already, as the facade does with copied requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .factory import experiment
from .trials import Experiment

_known: dict[str, Experiment] = {}


def shadow(
    name: str,
    *,
    flag: str,
    subject: Any,
    control: Any,
    candidate: Callable[[], Any],
) -> None:
    """
    Compare ``control``, an answer, with what ``candidate`` answers on another thread.

    The candidate may make HTTP requests, and touches no database.
    """
    found = _known.get(name)
    if found is None or found.flag != flag:
        found = _known[name] = experiment(
            name, flag=flag, when="after", using=(), allow=("http",)
        )
    found.run(lambda: control, subject=subject, candidate=candidate)
