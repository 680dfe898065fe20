"""A delivery as pika hands it over."""

from __future__ import annotations

from typing import Any

from django_strangler.brokers.base import Delivery


def delivery_of(
    session: int,
    method: Any,
    properties: Any,
    body: bytes,
    *,
    is_copy: bool,
    server: tuple[str, int] | None = None,
) -> Delivery:
    """The same as a value; nobody has checked what is in it."""
    return Delivery(
        session,
        method.delivery_tag,
        method.routing_key,
        properties.message_id,
        properties.type,
        properties.correlation_id,
        properties.timestamp,
        properties.headers or {},
        body,
        properties,
        server,
        is_copy,
        properties.user_id,
        properties.app_id,
    )
