"""Copies of a delivery: what of it is sent again, and with which notes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pika

from django_strangler.brokers.base import FROM_KEY, FROM_USER, Delivery
from django_strangler.events import Header
from django_strangler.printable import is_unicode

_ROOM = 64 * 1024  # Bytes for all headers; a frame may hold twice as much.
_LONGEST = 8 * 1024  # Characters of one; of any more, the first ones go along.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
# Other queues that a publisher names: RabbitMQ would put the copy there as well, and
# with our rights, not with the publisher's.
_ADDRESSES = ("cc", "bcc")
# The broker's own: of a copy they would tell another message's story.
_BROKERS = (
    "x-death",
    "x-first-death-",
    "x-last-death-",
    "x-delivery-count",
    "x-acquired-count",  # From RabbitMQ 4.3 on.
)
_OURS = ("strangler-failed-", "strangler-from-")  # On copies only.


def properties(
    delivery: Delivery,
    notes: Mapping[str, Header],
    *,
    without: tuple[str, ...] = (),
) -> pika.BasicProperties:
    """
    The properties and headers that are allowed on a copy, and these notes.

    Nothing else of what came: a publisher has no say in where a copy goes, how long it
    stays and with whose rights.
    """
    given = delivery.properties
    kept = _origin(delivery)
    room = _ROOM
    not_now = (*_BROKERS, *without, *(() if delivery.is_copy else _OURS))
    for name, value in (delivery.headers or {}).items():
        if not _is_allowed(name, value) or name.startswith(not_now):
            continue
        value = value[:_LONGEST] if isinstance(value, str) else value
        room -= len(name) + 4 * len(value) if isinstance(value, str) else 150
        if room > 0:
            kept.setdefault(name, value)
    return pika.BasicProperties(
        content_type=_short(getattr(given, "content_type", None)),
        content_encoding=_short(getattr(given, "content_encoding", None)),
        headers={**kept, **notes},
        delivery_mode=2,
        correlation_id=_short(delivery.correlation_id),
        message_id=_short(delivery.id),
        timestamp=_seconds(delivery.timestamp),
        # Without one, it would be lost on the way back.
        type=_short(delivery.type if delivery.type is not None else _key(delivery)),
        app_id=_short(delivery.app),
    )


def _origin(delivery: Delivery) -> dict[str, Header]:
    """By whom and with which routing key it was published, as the broker knew it."""
    if delivery.is_copy:
        return {}  # Its headers say so.
    origin: dict[str, Header] = {FROM_KEY: _key(delivery)}
    if _short(delivery.user):
        origin[FROM_USER] = delivery.user
    return origin


def _key(delivery: Delivery) -> str:
    """A message that RabbitMQ dead-lettered has another routing key by now."""
    deaths = delivery.headers.get("x-death") if delivery.headers else None
    first = deaths[-1] if isinstance(deaths, list) and deaths else None
    keys = first.get("routing-keys") if isinstance(first, dict) else None
    key = keys[0] if isinstance(keys, list) and keys else delivery.routing_key
    return key if isinstance(key, str) else delivery.routing_key


def _is_allowed(name: Any, value: Any) -> bool:
    return (
        isinstance(name, str)
        and _NAME.fullmatch(name) is not None
        and name.lower() not in _ADDRESSES
        and isinstance(value, (str, int, bool))
        and (isinstance(value, str) or -(2**63) <= value < 2**63)
        and (not isinstance(value, str) or is_unicode(value))
    )


def _short(value: Any) -> str | None:
    is_text = isinstance(value, str) and is_unicode(value)
    return value if is_text and len(value.encode()) < 256 else None


def _seconds(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**63 else None
