"""Brokers carry events; one file each, behind the seam in ``base``."""

from __future__ import annotations

from django.utils.module_loading import import_string

from django_strangler.conf import Settings
from django_strangler.exceptions import ConfigurationError

from .base import Broker as Broker
from .base import Cause as Cause
from .base import DeadLetterQueue, Source, WorkQueue, shown_url
from .base import Kind as Kind
from .base import Outcome as Outcome
from .base import Outgoing as Outgoing

# By dotted path, so that nothing is imported for a broker that is not used.
_SCHEMES = {
    "memory": "django_strangler.brokers.memory.MemoryBroker",
    "amqp": "django_strangler.brokers.rabbitmq.RabbitMQBroker",
    "amqps": "django_strangler.brokers.rabbitmq.RabbitMQBroker",
    "local": "django_strangler.inbox.local.LocalBroker",
}


def broker_path(urls: tuple[str, ...]) -> str:
    """The dotted path of the class that BROKER_URL names; imports nothing."""
    schemes = {url.partition("://")[0] if "://" in url else url for url in urls}
    if schemes <= {"amqp", "amqps"}:
        schemes = {"amqps"}
    if len(schemes) > 1:
        raise ConfigurationError(
            "STRANGLER['BROKER_URL'] lists URLs of different kinds: "
            f"{', '.join(map(shown_url, urls))}. List the nodes of one cluster."
        )
    scheme = schemes.pop()
    if "://" in urls[0] and scheme not in _SCHEMES:
        raise ConfigurationError(
            f"STRANGLER['BROKER_URL'] starts with {scheme}://, which is not a broker. "
            f"Use one of {', '.join(f'{name}://' for name in _SCHEMES)}, or the dotted "
            "path of a Broker class."
        )
    return _SCHEMES.get(scheme, scheme)


def broker_class(urls: tuple[str, ...]) -> type[Broker]:
    """The class that BROKER_URL names, by its scheme or by its dotted path."""
    path = broker_path(urls)
    try:
        found = import_string(path)
    except ImportError as error:
        raise ConfigurationError(
            f"STRANGLER['BROKER_URL'] names {path!r}, which cannot be imported: "
            f"{error}."
        ) from error
    if not (isinstance(found, type) and issubclass(found, Broker)):
        raise ConfigurationError(
            f"STRANGLER['BROKER_URL'] names {path!r}, which is not a subclass of "
            "django_strangler.brokers.base.Broker."
        )
    return found


def make_broker(settings: Settings) -> Broker:
    """The broker that the settings name, not yet opened."""
    return broker_class(settings.broker_url)(settings.broker_url, settings)


def make_source(settings: Settings, queue: WorkQueue) -> Source:
    """Where to consume that queue from, not yet opened."""
    found = broker_class(settings.broker_url).source
    if found is None:
        raise _no_queues(settings)
    return found(settings.broker_url, settings, queue)


def dead_letters(settings: Settings, queue: str) -> DeadLetterQueue:
    """The dead letters of the work queue of that name."""
    found = broker_class(settings.broker_url).dead_letters
    if found is None:
        raise _no_queues(settings)
    return found(settings.broker_url, settings, queue)


def _no_queues(settings: Settings) -> ConfigurationError:
    shown = shown_url(settings.broker_url[0])
    return ConfigurationError(
        f"STRANGLER['BROKER_URL'] is {shown}, which has no queues to consume from. A "
        "relay calls local:// subscribers itself; set amqp://… for RabbitMQ."
    )
