"""From a message on its way back to the value that was published."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple
from uuid import UUID

from django_strangler import context, extending
from django_strangler.brokers.base import FROM_KEY, FROM_USER, Delivery, Outgoing
from django_strangler.events import JSON, Event, Header, Publisher
from django_strangler.exceptions import InvalidEvent

from .failures import Reason

# They steer what becomes of the event, so one that cannot be read is no detail.
_OURS = ("strangler-", "flag-")
# What the broker notes down on a delivery is no header of the event's.
_BROKERS = ("x-delivery-count", "x-acquired-count", "x-first-death-", "x-last-death-")


class Refused(Exception):
    """A delivery is not an event that may be handled; the text says why."""

    def __init__(self, text: str, reason: Reason = Reason.UNREADABLE) -> None:
        super().__init__(text)
        self.reason = reason


class Envelope(NamedTuple):
    """All of an event but its payload, which is decoded once its turn has come."""

    id: UUID
    type: str
    key: str
    headers: Mapping[str, Header]
    correlation_id: str
    published_at: datetime | None
    source: Publisher

    def event(self, payload: JSON) -> Event:
        """The event as a subscriber gets it; or ``Refused``, by a validator."""
        event = Event(**self._asdict(), payload=payload)
        try:
            extending.validate(event)
        except InvalidEvent as error:
            raise Refused(str(error)) from error
        return event


def envelope_of(outgoing: Outgoing, source: str) -> Envelope:
    """From the outbox's row, which nobody but this project can have written."""
    return Envelope(
        id=UUID(outgoing.id),
        type=outgoing.type,
        key=outgoing.key,
        headers=outgoing.headers,
        correlation_id=outgoing.correlation_id,
        published_at=outgoing.published_at,
        source=Publisher(name=source, vouched=True),
    )


def read(delivery: Delivery, *, max_bytes: int) -> Envelope:
    """From any delivery; or ``Refused``."""
    if len(delivery.body) > max_bytes:
        raise Refused(
            f"its body has {len(delivery.body)} bytes, more than MAX_PAYLOAD_BYTES"
        )
    headers = _headers(delivery.headers)
    key = str(headers.pop("strangler-key", ""))
    published = headers.pop("strangler-published-at", None)
    return Envelope(
        id=_id(delivery.id),
        type=_type(delivery),
        key=key,
        headers={
            name: value
            for name, value in headers.items()
            if not name.startswith("strangler-")
            or name.startswith(context.PREFIX)
            or extending.is_own_header(name)
        },
        correlation_id=(
            delivery.correlation_id if isinstance(delivery.correlation_id, str) else ""
        ),
        published_at=_published_at(published, delivery.timestamp),
        source=source_of(delivery),
    )


def source_of(delivery: Delivery) -> Publisher:
    """Who published it: a copy says whom the first consumer took it from."""
    user, app = delivery.user, delivery.app
    if delivery.is_copy:
        user = delivery.headers.get(FROM_USER)
    if isinstance(user, str) and user:
        return Publisher(name=user, vouched=True)
    return Publisher(name=app if isinstance(app, str) else "", vouched=False)


def decode(body: bytes | str) -> JSON:
    """The payload, or ``Refused``; NaN and what is beyond a double are no JSON."""
    try:
        # As json.loads() does it, which would make a decoder for each body.
        if isinstance(body, bytes):
            body = body.decode(json.detect_encoding(body), "surrogatepass")
        return _decode(body)
    except RecursionError:
        raise Refused("its body is nested too deeply") from None
    except ValueError as error:  # Not UTF-8, not JSON, a number of 5,000 digits.
        raise Refused(f"its body is not JSON: {error}"[:300]) from None


def _id(value: Any) -> UUID:
    if value is None:
        raise Refused("it has no message id")
    try:
        return UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise Refused(f"its message id {value!r:.100} is not a UUID") from None


def _type(delivery: Delivery) -> str:
    # A copy comes by its queue's name, and says what it was published with.
    key = delivery.routing_key
    if delivery.is_copy:
        key = delivery.headers.get(FROM_KEY, delivery.type)
    type = key if delivery.type is None else delivery.type
    if not isinstance(type, str) or not type:
        raise Refused(f"its type {type!r:.100} is not a text")
    if type != key:
        # The broker checks who may use a routing key, and nobody checks the type.
        raise Refused(
            f"it says that it is of type {type!r:.100}, and was published with the "
            f"routing key {key!r:.100}",
            Reason.MISLABELLED,
        )
    return type


def _no_number(constant: str) -> Any:
    raise ValueError(f"{constant} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.40} is larger than any number of 64 bits")
    return value


_decode = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite).decode


def _headers(given: Mapping[Any, Any]) -> dict[str, Header]:
    """Those that can be an event's; others are left out, but ours have to be right."""
    headers: dict[str, Header] = {}
    for name, value in given.items():
        if isinstance(name, str) and isinstance(value, (str, int, bool)):
            if not name.startswith(_BROKERS):
                headers[name] = value
        elif str(name).startswith(_OURS):
            raise Refused(f"its header {name!r:.100} is of type {type(value).__name__}")
    key = headers.get("strangler-key", "")
    if not isinstance(key, str):
        raise Refused(f"its header 'strangler-key' is of type {type(key).__name__}")
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
