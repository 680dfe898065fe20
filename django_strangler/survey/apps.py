"""The Django app ``django_strangler.survey``."""

from __future__ import annotations

from django.apps import AppConfig


class SurveyConfig(AppConfig):
    """Fills the core's registries; nothing is read before it is asked for."""

    name = "django_strangler.survey"
    label = "strangler_survey"
    verbose_name = "Survey"

    def ready(self) -> None:
        from django_strangler import domains
        from django_strangler.monitoring import board

        from . import checks, conf, shown  # noqa: F401  The first registers itself.

        board.register("Couplings", shown.couplings, order=70)
        domains.ask_for_ties(shown.ties)
        if conf.settings().sample:
            from . import sampling

            sampling.start()
