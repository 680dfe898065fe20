"""System checks of what listens to events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps.config import AppConfig
from django.core import mail
from django.core.checks import CheckMessage, Warning
from django.db import DatabaseError

from django_strangler.exceptions import ConfigurationError

from .models import ConsumerProcess


def check_subscribers(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """W003: a module of subscribers cannot be imported."""
    # Here: checks are registered in every process, and run in few.
    from .subscribers import registry

    registry.all()
    # A warning, so that the relay still starts: the other subscribers go on.
    return [
        Warning(
            f"{module} cannot be imported: {why}",
            hint="Its subscribers get no events until that is mended; none are lost.",
            id="strangler.W003",
        )
        for module, why in registry.broken_modules.items()
    ]


def check_consumer(
    app_configs: Sequence[AppConfig] | None,
    databases: Sequence[str] | None = None,
    **kwargs: Any,
) -> list[CheckMessage]:
    """W004: subscribers exist, the broker has queues, and none is consumed."""
    from django_strangler import conf
    from django_strangler.brokers import broker_class

    from .handling import inbox_alias
    from .subscribers import registry

    try:
        urls = conf.current().broker_url
    except ConfigurationError:
        return []  # E001 has said it.
    if hasattr(mail, "outbox"):
        return []  # Tests run: no consumer was ever seen in their database.
    alias = inbox_alias()
    names = sorted(subscriber.name for subscriber in registry.all())
    if alias not in (databases or ()) or not names or _was_consumer_seen(alias):
        return []
    try:
        if broker_class(urls).source is None:
            return []
    except ConfigurationError:
        return []  # E001 has said it.
    return [
        Warning(
            f"No consumer was ever seen, and these subscribers wait for "
            f"events from the broker: {', '.join(names)}.",
            hint="Run: manage.py consume_events --queue NAME",
            id="strangler.W004",
        )
    ]


def _was_consumer_seen(alias: str) -> bool:
    try:
        return ConsumerProcess.objects.using(alias).exists()
    except DatabaseError:
        return True  # Not migrated yet: there are other messages for that.
