"""What ``manage.py check`` says about domains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig, apps
from django.core.checks import CheckMessage, Error, register

from django_strangler import domains
from django_strangler.exceptions import ConfigurationError


@register()
def check_domains(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """E001: a domain is made of something that does not exist."""
    known = {each.label.lower() for each in apps.get_app_configs()}
    known |= {model._meta.label_lower for model in apps.get_models()}
    try:
        given = domains.settings()
    except ConfigurationError:  # The core's own check says so.
        return []
    return [
        Error(
            f"STRANGLER['DOMAINS'] puts {label!r} into {domain!r}, and there is no "
            "such app or model.",
            hint='Write the label of an app, "orders", or of a model, "base.Order".',
            id="strangler_survey.E001",
        )
        for domain, labels in given.items()
        for label in labels
        if label.lower() not in known
    ]
