"""What the app shows in Django's admin; one module per capability."""

from __future__ import annotations

from . import outbox  # noqa: F401  (registers its models)
