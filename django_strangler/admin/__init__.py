"""What the app shows in Django's admin; one module per capability."""

from __future__ import annotations

from . import flags, outbox

__all__ = ["flags", "outbox"]
