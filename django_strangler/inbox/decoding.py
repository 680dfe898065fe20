"""From a message on its way back to the value that was published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from uuid import UUID

from django_strangler.brokers.base import Delivery, Outgoing
from django_strangler.events import Event, Header

# They steer what becomes of the event, so one that cannot be read is no detail.
_OURS = ("strangler-", "flag-")


class Unreadable(Exception):
    """A delivery is no event; the text says why."""


def decode(outgoing: Outgoing) -> Event:
    """The event as a subscriber gets it, from the outbox's row."""
    return Event(
        id=UUID(outgoing.id),
        type=outgoing.type,
        payload=json.loads(outgoing.body),
        key=outgoing.key,
        headers=outgoing.headers,
        correlation_id=outgoing.correlation_id,
        published_at=outgoing.published_at,
    )


def read(delivery: Delivery, *, max_bytes: int) -> Event:
    """The event as a subscriber gets it, from whatever came; or ``Unreadable``."""
    if len(delivery.body) > max_bytes:
        raise Unreadable(
            f"its body has {len(delivery.body)} bytes, more than MAX_PAYLOAD_BYTES"
        )
    headers = _headers(delivery.headers)
    return Event(
        id=_id(delivery.id),
        type=_type(delivery),
        payload=_payload(delivery.body),
        key=str(headers.get("strangler-key", "")),
        headers={
            name: value
            for name, value in headers.items()
            if not name.startswith("strangler-")
        },
        correlation_id=(
            delivery.correlation_id if isinstance(delivery.correlation_id, str) else ""
        ),
        published_at=_published_at(
            headers.get("strangler-published-at"), delivery.timestamp
        ),
    )


def _id(value: Any) -> UUID:
    if value is None:
        raise Unreadable("it has no message id")
    try:
        return UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise Unreadable(f"its message id {value!r:.100} is no UUID") from None


def _type(delivery: Delivery) -> str:
    # A retried one comes by its queue's name; its copy was given the type.
    type = delivery.routing_key if delivery.type is None else delivery.type
    if not isinstance(type, str) or not type:
        raise Unreadable(f"its type {type!r:.100} is no text")
    return type


def _payload(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_refuse)
    except RecursionError:
        raise Unreadable("its body is nested too deeply") from None
    except ValueError as error:  # Not UTF-8, not JSON, a number of 5,000 digits.
        raise Unreadable(f"its body is not JSON: {error}"[:300]) from None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")


def _headers(given: Mapping[Any, Any]) -> dict[str, Header]:
    """Those that can be an event's; others are left out, but ours have to be right."""
    headers: dict[str, Header] = {}
    for name, value in given.items():
        if isinstance(name, str) and isinstance(value, (str, int, bool)):
            headers[name] = value
        elif str(name).startswith(_OURS):
            raise Unreadable(
                f"its header {name!r:.100} is of type {type(value).__name__}"
            )
    key = headers.get("strangler-key", "")
    if not isinstance(key, str):
        raise Unreadable(f"its header 'strangler-key' is of type {type(key).__name__}")
    return headers


def _published_at(text: Any, seconds: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        try:
            return datetime.fromtimestamp(seconds, timezone.utc)
        except (TypeError, ValueError, OverflowError, OSError):
            return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
