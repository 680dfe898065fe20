"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig


class SagasConfig(AppConfig):
    """Fills the registries of the core; everything else waits until it is used."""

    name = "django_strangler.sagas"
    label = "strangler_sagas"
    verbose_name = "Sagas"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Let the core know what is here."""
        from django_strangler import extending, pruning
        from django_strangler.monitoring import board, examinations

        # The first two register themselves.
        from . import checks, conf, watching  # noqa: F401
        from .retention import prune

        extending.headers.add("strangler-saga")
        pruning.register("ended sagas forgotten", prune)
        examinations.register("sagas", watching.find)
        board.register("Sagas", watching.shown, order=50)
