"""Telling a difference from noise. Pure rules, after Twitter's Diffy."""

from __future__ import annotations

RELATIVE = 0.2  # How much of both together a candidate's excess must be,
ABSOLUTE = 0.0003  # and how much of all runs.


def is_noise(*, found: int, runs: int, noise: int, calibrated: int) -> bool:
    """
    Whether a place differs no more than the control differs from itself there.

    ``found`` of ``runs`` of a candidate, ``noise`` of ``calibrated`` runs of the
    control against itself.
    """
    if not noise or not runs or not calibrated:
        return False
    real, usual = found / runs, noise / calibrated
    excess = real - usual
    return excess <= 0 or excess / (real + usual) <= RELATIVE or excess <= ABSOLUTE
