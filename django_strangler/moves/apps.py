"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class MovesConfig(AppConfig):
    """Finds the moves and fills the registries of the core."""

    name = "django_strangler.moves"
    label = "strangler_moves"
    verbose_name = "Moves"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register what is registered."""
        from django_strangler.monitoring import board, examinations, panels

        # The first two register themselves.
        from . import checks, conf, watching  # noqa: F401

        examinations.register("moves", watching.find)
        panels.register(watching.PANEL)
        board.register("Moves", watching.shown, order=30)
        autodiscover_modules("moves")
