"""The Django app ``django_strangler.experiments``."""

from __future__ import annotations

from django.apps import AppConfig


class ExperimentsConfig(AppConfig):
    """Fills the core's registries, and lets effects ask whether they are refused."""

    name = "django_strangler.experiments"
    label = "strangler_experiments"
    verbose_name = "Experiments"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_strangler import pruning
        from django_strangler.evidence import writing
        from django_strangler.monitoring import board

        from . import effects, shown
        from .recording import recorder
        from .retention import prune

        effects.install()
        writing.watchers.append(recorder.written)
        pruning.register("mismatches forgotten", prune)
        board.register("Experiments", shown.experiments, order=30)
        board.register("Branches", shown.all_branches, order=20)
