"""The Django app, as an opt-in app of the package has one."""

from __future__ import annotations

from django.apps import AppConfig


class ExampleConfig(AppConfig):
    """Fills the registries of the core; everything else waits until it is used."""

    name = "tests.exampleapp"
    label = "strangler_example"
    verbose_name = "Example"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.core.checks import Tags, register

        from django_strangler import pruning
        from django_strangler.monitoring import examinations, panels

        from . import checks, conf, pages  # noqa: F401

        register(checks.check_things, Tags.compatibility)
        pruning.register("example things forgotten", pages.prune)
        examinations.register("example", pages.find)
        panels.register(pages.panel)
