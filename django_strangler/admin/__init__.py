"""The admin, one module per capability."""

from __future__ import annotations

from . import flags

__all__ = ["flags"]
