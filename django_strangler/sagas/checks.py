"""What ``manage.py check --database`` says about sagas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps.config import AppConfig
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import DatabaseError


@register(Tags.database)
def check_code(
    app_configs: Sequence[AppConfig] | None,
    databases: Sequence[str] | None = None,
    **kwargs: Any,
) -> list[CheckMessage]:
    """E001: a saga is under way, and its class is gone."""
    from . import watching

    if watching.runs().db not in (databases or ()):
        return []
    try:
        return [
            Error(
                text,
                hint="Bring the class back, in that version, until they have ended.",
                id="strangler_sagas.E001",
            )
            for text in watching.without_code()
        ]
    except DatabaseError:
        return []  # Not migrated yet.
