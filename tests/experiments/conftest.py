"""Experiments of a test's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_strangler.experiments import counts
from django_strangler.experiments.recording import recorder
from django_strangler.experiments.registry import branches, registry


@pytest.fixture(autouse=True)
def nothing_ran_yet(settings: Any) -> Iterator[None]:
    """No counts of other tests, and none of this test's experiments after it."""
    # A candidate that is late because the machine is slow, is no test's matter.
    settings.STRANGLER = {**settings.STRANGLER, "EXPERIMENTS": {"TIMEOUT": 60.0}}
    known, branched = dict(registry), dict(branches)
    registry.clear()
    branches.clear()
    recorder.forget()
    counts.candidates.reset()
    yield
    registry.clear()
    registry.update(known)
    branches.clear()
    branches.update(branched)
    recorder.forget()


@pytest.fixture
def outcomes():
    """What became of candidates: {("total", "candidate", "match"): 1}."""
    return counts.candidates.values
