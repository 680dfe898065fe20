"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig


class HttpIdempotencyConfig(AppConfig):
    """Fills the registries of the core; everything else waits until it is used."""

    name = "django_strangler.http_idempotency"
    label = "strangler_http_idempotency"
    verbose_name = "Idempotency keys"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Let the core know what is here."""
        from django_strangler import pruning
        from django_strangler.monitoring import board, examinations, panels

        # They register themselves.
        from . import checks, conf, counts, watching  # noqa: F401
        from .retention import prune

        pruning.register("answered requests forgotten", prune)
        examinations.register("idempotency keys", watching.find)
        panels.register(watching.PANEL)
        board.register("Idempotency keys", watching.shown, order=60)
