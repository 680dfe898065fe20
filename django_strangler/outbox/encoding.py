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

from django.db.models import Model
from django.utils.duration import duration_iso_string
from django.utils.functional import Promise

from django_strangler.events import JSON
from django_strangler.exceptions import InvalidPayload, PayloadTooLarge

MAX_DEPTH = 32  # MariaDB's JSON functions stop there, and raise.


def encode(payload: JSON, *, limit: int) -> str:
    """Turn a payload into JSON text, or say what in it JSON cannot hold."""
    try:
        body = _dumps(_plain(payload, "payload", 0))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidPayload):
            raise
        # What is left: an integer with more digits than Python converts.
        raise InvalidPayload(f"The payload cannot be written as JSON: {error}") from error
    if len(body) > limit:
        raise PayloadTooLarge(
            f"The payload is {len(body):,} bytes as JSON, MAX_PAYLOAD_BYTES allows "
            f"{limit:,}. Store the data and publish a reference to it."
        )
    return body


_dumps = json.JSONEncoder(
    ensure_ascii=True, allow_nan=False, check_circular=False, separators=(",", ":")
).encode


def _plain(value: Any, where: str, depth: int) -> Any:
    """The same value in JSON's own types; ``where`` leads to it in error messages."""
    if value is None or value is True or value is False:
        return value
    kind = type(value)
    if kind is str:
        return _text(value, where)
    if kind is int:
        return value
    if kind is float:
        if not math.isfinite(value):
            raise InvalidPayload(f"{where} is {value}, which JSON has no number for.")
        return value
    if kind is dict or kind is list or kind is tuple:
        # A cycle ends here as well.
        if depth >= MAX_DEPTH:
            raise InvalidPayload(
                f"The payload is nested deeper than {MAX_DEPTH} levels, or contains "
                "itself. Make it flatter."
            )
        if kind is dict:
            return {
                _name(name, where): _plain(item, f"{where}[{name!r:.80}]", depth + 1)
                for name, item in value.items()
            }
        return [
            _plain(item, f"{where}[{index}]", depth + 1)
            for index, item in enumerate(value)
        ]
    return _plain(_convert(value, where), where, depth)


def _name(name: Any, where: str) -> str:
    if not isinstance(name, str):
        raise InvalidPayload(
            f"{where} has the key {name!r:.80}, a {type(name).__name__}. JSON's keys "
            "are texts: use str(…)."
        )
    return _text(str.__str__(name), f"a key of {where}")


def _text(value: str, where: str) -> str:
    if value.isascii():
        if "\x00" in value:
            raise InvalidPayload(f"{where} contains the character NUL. Remove it.")
        return value
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidPayload(
            f"{where} contains half of a surrogate pair, which is no character. Decode "
            "the text it came from with the right encoding."
        ) from error
    if "\x00" in value:
        raise InvalidPayload(f"{where} contains the character NUL. Remove it.")
    return value


def _convert(value: Any, where: str) -> Any:
    """One step towards JSON's own types, for the types that Django users store."""
    match value:
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
                raise InvalidPayload(f"{where} is {value}, which is not a number.")
            return str(value)  # Money is never a float.
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
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
            raise InvalidPayload(
                f"{where} is a model instance ({value._meta.label}). Publish the fields "
                "that others may rely on, by name."
            )
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: getattr(value, field.name) for field in dataclasses.fields(value)
        }
    raise InvalidPayload(
        f"{where} is a {type(value).__name__}, which JSON cannot hold. Convert it to a "
        "list, a text or a number."
    )
