"""
Payloads as JSON text, encoded once, when they are published.

The text is pure ASCII, so no database's character set can alter or refuse it, and the
relay sends it byte for byte as it was committed.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import uuid
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import Model
from django.utils import timezone
from django.utils.duration import duration_iso_string
from django.utils.functional import LazyObject, Promise, empty

from django_strangler.events import JSON
from django_strangler.exceptions import InvalidPayload, PayloadTooLarge, shown

MAX_DEPTH = 32  # MariaDB's JSON functions stop there, and raise.


def encode(payload: JSON, *, limit: int) -> str:
    """Turn a payload into JSON text, or say what in it JSON cannot hold."""
    try:
        body = _dumps(_plain(payload, MAX_DEPTH))
    except _Refused as refused:
        raise InvalidPayload(f"{refused.where} {refused}") from refused.__cause__
    except ValueError as error:
        # What is left: an integer with more digits than Python converts.
        raise InvalidPayload(
            f"The payload cannot be written as JSON: {error}"
        ) from error
    if len(body) > limit:
        raise PayloadTooLarge(
            f"The payload is {len(body):,} bytes as JSON, MAX_PAYLOAD_BYTES allows "
            f"{limit:,}. Store the data and publish a reference to it."
        )
    return body


def canonical(body: str) -> str:
    """The same text for payloads that say the same, their names in whatever order."""
    # As text: to Python, 1 == 1.0 == True.
    return json.dumps(json.loads(body), sort_keys=True)


_dumps = json.JSONEncoder(
    ensure_ascii=True, allow_nan=False, check_circular=False, separators=(",", ":")
).encode


class _Refused(Exception):
    """JSON cannot hold a value; the way to it is collected on the way out."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.steps: list[Any] = []

    @property
    def where(self) -> str:
        # Only the ends: a cycle makes a long way.
        steps = [f"[{shown(step)}]" for step in reversed(self.steps)]
        if len(steps) > 8:
            steps[4:-3] = ["…"]
        return "payload" + "".join(steps)


def _plain(value: Any, levels: int) -> Any:
    """The same value in JSON's own types; ``levels`` of nesting are left."""
    kind = type(value)
    if kind is str:
        return _text(value)
    if kind is int or value is None or kind is bool:
        return value
    if kind is dict:
        if not levels:
            raise _Refused(_TOO_DEEP)
        plain = {}
        for name, item in value.items():
            try:
                plain[_name(name)] = _plain(item, levels - 1)
            except _Refused as refused:
                refused.steps.append(name)
                raise
        return plain
    if kind is list or kind is tuple:
        if not levels:
            raise _Refused(_TOO_DEEP)
        items = []
        for item in value:
            try:
                items.append(_plain(item, levels - 1))
            except _Refused as refused:
                refused.steps.append(len(items))
                raise
        return items
    if kind is float:
        if not math.isfinite(value):
            raise _Refused(f"is {value}, which JSON has no number for.")
        return value
    return _plain(_convert(value), levels)


_TOO_DEEP = (
    f"is nested deeper than {MAX_DEPTH} levels, or contains itself. Make it flatter."
)


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise _Refused(
            f"is under a key that is not a text but a {type(name).__name__}, which "
            "JSON does not have. Use str(…)."
        )
    return _text(str.__str__(name))


def _text(value: str) -> str:
    if "\x00" in value:
        raise _Refused("contains the character NUL. Remove it.")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise _Refused(
                "contains half of a surrogate pair, which is not a character. Decode "
                "the text it came from with the right encoding."
            ) from error
    return value


def _convert(value: Any) -> Any:
    """One step towards JSON's own types, for the types that Django users store."""
    match value:
        case LazyObject():
            return _unwrapped(value)
        case enum.Enum():
            return value.value
        case str():
            return str.__str__(value)
        case int():
            return int(value)
        case float():
            return float(value)
        case Decimal():
            if not value.is_finite():
                raise _Refused(f"is {value}, which is not a number.")
            return str(value)  # Money is never a float.
        case datetime():
            return _moment(value)
        case date() | time():
            return value.isoformat()
        case timedelta():
            return duration_iso_string(value)
        case uuid.UUID() | Promise():
            return str(value)
        case Mapping():
            return dict(value)
        case list() | tuple():
            return list(value)
        case Model():
            raise _Refused(
                f"is a model instance ({value._meta.label}). Publish the fields that "
                "others may rely on, by name."
            )
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: getattr(value, field.name)
            for field in dataclasses.fields(value)
        }
    raise _Refused(
        f"is of the type {type(value).__name__}, which JSON cannot hold. Convert it "
        "to a list, a text or a number."
    )


def _moment(value: datetime) -> str:
    if value.utcoffset() is None:
        if settings.USE_TZ:
            raise _Refused(
                f"is the naive datetime {value}, a moment that differs from place to "
                "place. Give it a time zone: timezone.make_aware(…)."
            )
        # Without USE_TZ all times are local; another service cannot know where.
        value = timezone.make_aware(value, timezone.get_default_timezone())
    return value.isoformat().replace("+00:00", "Z")


def _unwrapped(value: Any) -> Any:
    if value._wrapped is empty:
        value._setup()
    return value._wrapped
