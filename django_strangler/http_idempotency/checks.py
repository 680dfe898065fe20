"""What ``manage.py check`` says about idempotent views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps.config import AppConfig
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections
from django.urls import get_resolver

from .rules import Rules
from .views import views


@register(Tags.urls)
def check_steps(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """E001: a view in mode "steps" would run inside the request's transaction."""
    return [
        Error(
            f"The view at {route!r} is idempotent in mode 'steps', and ATOMIC_REQUESTS "
            f"of the database {alias!r} puts it into a transaction, which would take "
            "its claim back with it. Each request with a key fails.",
            hint="Decorate the view with @transaction.non_atomic_requests.",
            id="strangler_http_idempotency.E001",
        )
        for route, view in views(get_resolver().url_patterns)
        if (rules := _rules(view)) is not None and rules.mode == "steps"
        for alias in [rules.alias()]
        if connections[alias].settings_dict["ATOMIC_REQUESTS"]
        and alias not in getattr(view, "_non_atomic_requests", ())
    ]


def _rules(view: Any) -> Rules | None:
    cls = getattr(view, "view_class", None) or getattr(view, "cls", None)
    found = getattr(view, "idempotency", None)
    if found is None and cls is not None:
        found = getattr(cls, "idempotency_rules", None)
    return found if isinstance(found, Rules) else None
