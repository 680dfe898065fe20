"""The example's system check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps.config import AppConfig
from django.core.checks import CheckMessage, Warning

from django_strangler.exceptions import ConfigurationError

from .conf import settings


def check_things(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """W001: MOST is more than the example can bear."""
    try:
        if settings().most <= 100:
            return []
    except ConfigurationError:
        return []  # strangler.E001 has said it.
    return [Warning("MOST is large.", id="strangler_example.W001")]
