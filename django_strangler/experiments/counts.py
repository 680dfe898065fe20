"""What this process has counted of experiments, as metrics."""

from __future__ import annotations

from django_strangler import counting

candidates = counting.counter(
    "experiments_candidates",
    "What became of candidates: match, mismatch, refused, late, skipped, resting, "
    "dropped or broken.",
    labels=("experiment", "candidate", "outcome"),
)
