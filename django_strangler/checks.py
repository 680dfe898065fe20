"""System checks: what is set up wrong is said by ``manage.py check``, with the cure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps.config import AppConfig
from django.core.checks import CheckMessage, Error, Tags, register

from django_strangler import conf
from django_strangler.exceptions import ConfigurationError
from django_strangler.outbox import checks as outbox_checks  # noqa: F401


@register(Tags.compatibility)
def check_settings(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """E001: STRANGLER has an unknown key or a value of the wrong kind."""
    try:
        conf.current()
    except ConfigurationError as error:
        return [
            Error(
                str(error),
                hint="The settings reference lists every key with its default.",
                id="strangler.E001",
            )
        ]
    return []
