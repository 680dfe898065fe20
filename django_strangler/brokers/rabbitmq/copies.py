"""Copies of a delivery: what of it can be sent again, and with which notes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pika

from django_strangler.brokers.base import Delivery
from django_strangler.events import Header

# The broker's own: of a copy they would tell another message's story.
_BROKERS = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count")
_ROOM = 64 * 1024  # Bytes for all headers; a frame may hold twice as much.


def properties(
    delivery: Delivery,
    notes: Mapping[str, Header],
    *,
    without: tuple[str, ...] = (),
) -> pika.BasicProperties:
    """The delivery's properties with these notes among its headers."""
    made = copy.copy(delivery.properties) or pika.BasicProperties()
    headers: dict[str, Any] = {
        name: value
        for name, value in (delivery.headers or {}).items()
        if isinstance(name, str) and not name.startswith((*_BROKERS, *without))
    }
    kept = {name: _portable(name, value) for name, value in headers.items()}
    if _size(kept) > _ROOM:
        # RabbitMQ would close the connection for such a copy, again and again.
        small = [each for each in kept.items() if _size(dict([each])) < 1024]
        kept = dict(small[:32])
    made.headers = {**kept, **notes}
    made.delivery_mode = 2
    made.expiration = None  # It would leave the queue that it is to wait in.
    made.user_id = None  # The broker compares it with ours.
    return made


def _portable(name: str, value: Any) -> Any:
    """The value if pika can send what it received; not all of it, it cannot."""
    try:
        pika.data.encode_table([], {name: value})
    except Exception:  # noqa: BLE001  Whatever: as text it can be sent.
        return repr(value)[:1000]
    return value


def _size(headers: Mapping[str, Any]) -> int:
    size: int = pika.data.encode_table([], dict(headers))
    return size
