"""System checks: what is set up wrong is said by ``manage.py check``, with the cure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.apps.config import AppConfig
from django.core.checks import CheckMessage, Error

from django_strangler.exceptions import ConfigurationError

if TYPE_CHECKING:
    from django_strangler import conf


def check_settings(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """E001: STRANGLER has an unknown key, or a value that cannot be used."""
    # Here, as in all checks: they are registered in every process, and run in few.
    from django_strangler import conf

    try:
        conf.check()
        settings = conf.current()
        _check_broker(settings)
        _check_patterns(settings)
    except ConfigurationError as error:
        return [
            Error(
                str(error),
                hint="The settings reference lists every key with its default.",
                id="strangler.E001",
            )
        ]
    return []


def _check_broker(settings: conf.Settings) -> None:
    from django_strangler.brokers import broker_class, broker_path

    # Our own brokers are there: importing pika would only slow down every command.
    if broker_path(settings.broker_url) in settings.broker_url:
        broker_class(settings.broker_url)


def _check_patterns(settings: conf.Settings) -> None:
    from django_strangler.brokers.patterns import is_pattern

    for pattern in settings.unroutable:
        if not is_pattern(pattern):
            raise ConfigurationError(
                f"STRANGLER['UNROUTABLE'] has {pattern!r:.100}, which is not a valid "
                "pattern of types. Use words and dots; * is one word, # is any number: "
                '"audit.#".'
            )
