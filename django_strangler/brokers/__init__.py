"""Brokers carry events; one file each, behind the seam in ``base``."""

from __future__ import annotations

from django.utils.module_loading import import_string

from django_strangler.conf import Settings
from django_strangler.exceptions import ConfigurationError

from .base import Broker, Kind, Outcome, Outgoing, shown_url

__all__ = ["Broker", "Kind", "Outcome", "Outgoing", "broker_class", "make_broker"]

# By dotted path, so that nothing is imported for a broker that is not used.
_SCHEMES = {
    "memory": "django_strangler.brokers.memory.MemoryBroker",
    "amqp": "django_strangler.brokers.rabbitmq.RabbitMQBroker",
    "amqps": "django_strangler.brokers.rabbitmq.RabbitMQBroker",
    "local": "django_strangler.inbox.local.LocalBroker",
}


def broker_class(urls: tuple[str, ...]) -> type[Broker]:
    """The class that BROKER_URL names, by its scheme or by its dotted path."""
    schemes = {url.partition("://")[0] if "://" in url else url for url in urls}
    if {"amqp", "amqps"} >= schemes:
        schemes = {"amqps"}
    if len(schemes) > 1:
        raise ConfigurationError(
            "STRANGLER['BROKER_URL'] lists URLs of different kinds: "
            f"{', '.join(map(shown_url, urls))}. List the nodes of one cluster."
        )
    scheme = schemes.pop()
    try:
        found = import_string(_SCHEMES.get(scheme, scheme))
    except ImportError as error:
        known = ", ".join(f"{name}://" for name in _SCHEMES)
        raise ConfigurationError(
            f"STRANGLER['BROKER_URL'] names {shown_url(urls[0])!r}, which is no broker "
            f"({error}). Use one of {known}, or the dotted path of a Broker class."
        ) from error
    if not (isinstance(found, type) and issubclass(found, Broker)):
        raise ConfigurationError(
            f"STRANGLER['BROKER_URL'] names {scheme!r}, which is not a subclass of "
            "django_strangler.brokers.base.Broker."
        )
    return found


def make_broker(settings: Settings) -> Broker:
    """The broker that the settings name, not yet opened."""
    return broker_class(settings.broker_url)(settings.broker_url, settings)
