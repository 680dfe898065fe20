"""Experiments of a test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_strangler.experiments import counts
from django_strangler.experiments.recording import recorder
from django_strangler.experiments.registry import branches, registry


@pytest.fixture(autouse=True)
def nothing_ran_yet() -> Iterator[None]:
    """No counts of other tests, and none of this test's experiments after it."""
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
