"""
CloudEvents in binary mode: headers that say what an event is, beside our own.

The body stays as it is. ``amqp`` is the official binding, which is for AMQP 1.0:
RabbitMQ 4 hands these headers to such consumers as application properties. ``ce`` is
Knative's for RabbitMQ.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from django_strangler import extending
from django_strangler.brokers.base import Outgoing
from django_strangler.events import Header

from .wire import published_at

PREFIXES = {"amqp": "cloudEvents_", "ce": "ce-"}


def with_attributes(
    event: Outgoing, headers: Mapping[str, Header], source: str, dialect: str
) -> dict[str, Header]:
    """The headers, and the attributes of a CloudEvent."""
    attributes: dict[str, Header] = {
        "specversion": "1.0",
        "id": event.id,
        "source": quote(source, safe="/:@") or "/",  # A URI reference.
        "type": event.type,
        "time": published_at(event).replace("+00:00", "Z"),
        **({"subject": event.key, "partitionkey": event.key} if event.key else {}),
        **({"correlationid": event.correlation_id} if event.correlation_id else {}),
    }
    for more in extending.attributes:
        attributes |= more(event.type, headers)
    prefix = PREFIXES[dialect]
    return {**headers, **{prefix + name: each for name, each in attributes.items()}}
