"""What an event may look like: pure functions that return the value or raise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol
from uuid import UUID

from django_strangler.events import Header, Key, key_text
from django_strangler.exceptions import (
    InvalidDelay,
    InvalidHeader,
    InvalidKey,
    InvalidType,
    shown,
)
from django_strangler.printable import is_unicode

MAX_TEXT = 255  # AMQP's short strings, in bytes; the columns, in characters.
MAX_HEADERS = 16 * 1024  # All of them travel in one frame.
MAX_DELAY = timedelta(days=3650)
RESERVED = ("strangler-", "flag-", "trace")

_TYPE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")
_HEADER = re.compile(r"[a-z0-9][a-z0-9._-]*")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FLAG = re.compile(r"[A-Za-z0-9_-]+")


class NamedTruth(Protocol):
    """A flag's decision, as far as the outbox is concerned."""

    @property
    def name(self) -> str:
        """The flag's name."""

    def __bool__(self) -> bool: ...


def check_type(type: Any) -> str:
    """Dotted words, because brokers route by them."""
    if not isinstance(type, str) or not _TYPE.fullmatch(type) or len(type) > MAX_TEXT:
        raise InvalidType(
            f"{shown(type)} is not an event type. Use two or more words of letters, "
            f"digits, - and _, joined by dots, {MAX_TEXT} bytes at most: "
            '"payment.completed".'
        )
    return str.__str__(type)


def check_key(key: Key) -> str:
    """The key as text."""
    text = key_text(key)
    if len(text) > MAX_TEXT or not _is_clean(text):
        raise InvalidKey(
            f"The key {shown(text)} has {len(text)} characters. A key has {MAX_TEXT} "
            "at most, no NUL and no half surrogate pair. Publish a digest of a longer "
            "one."
        )
    return text


def check_correlation_id(value: Any) -> str:
    """An opaque text that AMQP can carry; a UUID is welcome."""
    if value is None:
        return ""
    text = str(value) if isinstance(value, (str, UUID)) else None
    if text is None or not _is_clean(text) or len(text.encode()) > MAX_TEXT:
        raise InvalidHeader(
            f"The correlation id {shown(value)} is not a text of up to {MAX_TEXT} "
            "bytes without NUL and half surrogate pairs."
        )
    return text


class OwnHeaders(dict[str, Header]):
    """Headers of an app of this distribution, which may have the reserved names."""


def check_headers(headers: Mapping[str, Header] | None) -> dict[str, Header]:
    """The caller's own headers."""
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise InvalidHeader(f"headers is a {type(headers).__name__}, not a dict.")
    checked: dict[str, Header] = {}
    for name, value in headers.items():
        if (
            not isinstance(name, str)
            or not _HEADER.fullmatch(name)
            or len(name) > MAX_TEXT
        ):
            raise InvalidHeader(
                f"{shown(name)} is not a header's name: lower-case letters, digits, "
                f"dots, - and _, {MAX_TEXT} at most."
            )
        if name.startswith(RESERVED) and not isinstance(headers, OwnHeaders):
            raise InvalidHeader(
                f"The header {shown(name)} is reserved: names must not start with "
                f"{', '.join(RESERVED)}. Choose another name."
            )
        checked[str.__str__(name)] = _check_value(name, value)
    _check_size(checked)
    return checked


def _check_value(name: str, value: Any) -> Header:
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return int(value)
    if isinstance(value, str) and _is_clean(value):
        return str.__str__(value)
    raise InvalidHeader(
        f"The header {shown(name)} has the value {shown(value)}. Headers are texts "
        "without NUL, whole numbers of 64 bits, or booleans."
    )


def _check_size(headers: Mapping[str, Header]) -> None:
    size = sum(len(name) + len(str(value).encode()) for name, value in headers.items())
    if size > MAX_HEADERS:
        raise InvalidHeader(
            f"The headers are too large: {size:,} bytes, where {MAX_HEADERS:,} are "
            "allowed. Use the payload."
        )


def flag_headers(flags: Iterable[NamedTruth]) -> dict[str, Header]:
    """The decisions that travel with the event: ``flag-<name>``, on or off."""
    headers: dict[str, Header] = {}
    try:
        given = list(flags)
    except TypeError:
        raise InvalidHeader(
            f"flags is {shown(flags)}, not a list. Pass a list: flags=[decision]."
        ) from None
    for flag in given:
        name = getattr(flag, "name", None)
        if not isinstance(name, str) or not _FLAG.fullmatch(name) or len(name) > 200:
            raise InvalidHeader(
                f"flags holds {shown(flag)}, which has no flag's name. Pass what "
                "feature_flags.evaluate() returned."
            )
        headers[f"flag-{name.lower()}"] = "on" if flag else "off"
    _check_size(headers)
    return headers


def check_delay(delay: Any) -> float | datetime | None:
    """Seconds to wait, or the aware time to wait for."""
    if delay is None:
        return None
    if isinstance(delay, datetime):
        return _check_moment(delay)
    if isinstance(delay, timedelta):
        delay = delay.total_seconds()
    if isinstance(delay, bool) or not isinstance(delay, (int, float)):
        raise InvalidDelay(
            f"delay is {shown(delay)}. Pass seconds, a timedelta or an aware datetime."
        )
    if not 0 <= delay <= MAX_DELAY.total_seconds():
        raise InvalidDelay(
            f"delay is {shown(delay)} s; it must lie between 0 and "
            f"{MAX_DELAY.days} days."
        )
    return float(delay) or None


def _check_moment(moment: datetime) -> datetime:
    if moment.utcoffset() is None:
        raise InvalidDelay(
            f"delay is the naive datetime {moment}. Give it a time zone: "
            "timezone.make_aware(…), or pass a timedelta."
        )
    now = datetime.now(timezone.utc)
    # A year in front of 1970 or far ahead is a mistake, and some databases refuse it.
    if not _EPOCH <= moment <= now + MAX_DELAY:
        raise InvalidDelay(
            f"delay is {moment}; it must lie between 1970 and {MAX_DELAY.days} days "
            "from now."
        )
    return moment


def _is_clean(text: str) -> bool:
    """Whether every database and broker can hold this text."""
    return "\x00" not in text and is_unicode(text)
