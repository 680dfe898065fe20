"""What can go wrong with an experiment; no caller of a control meets it."""

from __future__ import annotations

from django_strangler.exceptions import StranglerError


class InvalidExperiment(StranglerError, ValueError):
    """An experiment or a branch was declared in a way that cannot work."""


class MismatchFound(AssertionError):
    """A test runs within ``experiments_raise()``, and a candidate differs."""
