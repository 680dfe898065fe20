"""The Django app ``django_strangler.contracts``."""

from __future__ import annotations

from django.apps import AppConfig


class ContractsConfig(AppConfig):
    """Fills the core's registries."""

    name = "django_strangler.contracts"
    label = "strangler_contracts"
    verbose_name = "Contracts"

    def ready(self) -> None:
        """Let the core know what is here."""
        from django_strangler import extending

        # The first two register themselves.
        from . import attributes, checks, conf, validating  # noqa: F401

        # A test that changes INSTALLED_APPS lets this app be ready once more.
        if attributes.of not in extending.attributes:
            extending.attributes.append(attributes.of)
        if validating.is_wanted() and validating.validate not in extending.validators:
            extending.validators.append(validating.validate)
