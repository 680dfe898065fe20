"""What the app shows in Django's admin; one module per capability."""

from __future__ import annotations

from . import flags, incidents, outbox, pauses

__all__ = ["flags", "incidents", "outbox", "pauses"]
