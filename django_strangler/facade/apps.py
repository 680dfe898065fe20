"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class FacadeConfig(AppConfig):
    """Finds the routes and fills the registries of the core."""

    name = "django_strangler.facade"
    label = "strangler_facade"
    verbose_name = "Routes"

    def ready(self) -> None:
        """Register what is registered."""
        from django_strangler.monitoring import board, examinations, panels

        from . import checks, conf, examining, guarding, showing  # noqa: F401

        examinations.register("routes", examining.examine)
        panels.register(
            panels.Panel(
                name="facade",
                title="Routes",
                permission="strangler.view_flag",
                data=showing.data,
                template="admin/strangler_facade/panel.html",
            )
        )
        board.register("Routes", showing.shown, order=10)
        guarding.connect()
        autodiscover_modules("routes")
