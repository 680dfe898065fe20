"""The doctor: looks at every part; says what is not well, and which line mends it."""

from __future__ import annotations

from .doctor import Diagnosis, Doctor

__all__ = ["Diagnosis", "Doctor"]
