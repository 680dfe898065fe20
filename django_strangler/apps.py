"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig


class StranglerConfig(AppConfig):
    """Registers the checks; everything else waits until it is used."""

    name = "django_strangler"
    label = "strangler"
    verbose_name = "Strangler"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_strangler import checks  # noqa: F401  (registers them)
        from django_strangler.outbox import journal

        journal.connect()
