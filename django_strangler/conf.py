"""The ``STRANGLER`` setting as one frozen, typed value."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from django.conf import settings

from django_strangler.exceptions import ConfigurationError, shown

_URL_OR_PATH = re.compile(r"[a-z][a-z0-9+.-]*://[^\s]*|[^\W\d]\w*(\.[^\W\d]\w*)+")
_TRACE_URL = re.compile(r"https?://\S*\{trace_id\}\S*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting with its default; durations are in seconds."""

    broker_url: tuple[str, ...] = ("local://",)
    exchange: str = "domain-events"
    source: str = "monolith"
    require_transaction: bool = True
    max_payload_bytes: int = 1024 * 1024
    unroutable: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType({"#": "park"})
    )
    parked_holds_key: bool = False
    max_attempts: int = 10
    max_backoff: float = 60.0  # The longest pause between two attempts.
    retention: float = 7 * 86400.0
    inbox_retention: float = 90 * 86400.0  # How long a repeated event is recognised.
    handler_timeout: float = 60.0  # How long a consumer's subscriber may take.
    window: int = 1000  # Events sent and not yet marked, per relay.
    batch_size: int = 500  # Events marked by one statement.
    lease: float = 10.0
    poll_interval: float = 1.0
    flag_refresh: float = 1.0  # How old a process's view of the flags may get.
    notify: bool = True  # Wake relays by NOTIFY, where the database has it.
    unhealthy_after: float = 60.0  # How long an event may be due and not sent.
    trace_url: str = ""  # Where a trace is shown: "https://…/trace/{trace_id}".


def current() -> Settings:
    """The settings in force now; ``override_settings`` is seen at once."""
    global _cache
    given: Any = getattr(settings, "STRANGLER", None)
    seen, copy, value = _cache
    # The copy tells when somebody, a test as a rule, has changed the dict in place.
    if seen is given and copy == given and value is not None:
        return value
    value = parse({} if given is None else given)
    _cache = (given, None if given is None else dict(given), value)
    return value


def parse(given: Any) -> Settings:
    """Check and convert a ``STRANGLER`` dict; name what is wrong with it."""
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"STRANGLER is a {type(given).__name__}. Make it a dict, such as "
            '{"BROKER_URL": "amqp://…"}.'
        )
    for key in given:
        if key not in _PARSERS:
            raise ConfigurationError(_unknown(key))
    return Settings(
        **{key.lower(): _PARSERS[key](key, value) for key, value in given.items()}
    )


def _unknown(key: object) -> str:
    near = difflib.get_close_matches(str(key).upper(), _PARSERS, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(_PARSERS)}."
    return f"STRANGLER has an unknown key {key!r}. {hint}"


def _wrong(key: str, value: object, wanted: str) -> ConfigurationError:
    # A broker URL may hold a password, so that value is never repeated.
    given = "" if key == "BROKER_URL" else f" is {shown(value)}. It"
    return ConfigurationError(f"STRANGLER[{key!r}]{given} must be {wanted}.")


def _boolean(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong(key, value, "True or False")
    return value


def _text(key: str, value: object) -> str:
    # Not printable are control characters, and halves of a surrogate pair.
    if (
        not isinstance(value, str)
        or not value.isprintable()
        or not 1 <= len(value.encode()) <= 255
    ):
        raise _wrong(key, value, "a text of 1 to 255 bytes, no control characters")
    return value


def _positive(key: str, value: object) -> int:
    # The upper end is that of an integer column.
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        raise _wrong(key, value, f"a whole number from 1 to {2**31 - 1}")
    return value


def _seconds(least: float) -> Callable[[str, object], float]:
    def convert(key: str, value: object) -> float:
        if isinstance(value, timedelta):
            value = value.total_seconds()
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _wrong(key, value, "seconds or a timedelta")
        # Written so that NaN fails as well; a century is beyond any database's dates.
        if not least <= value <= 100 * 365 * 86400:
            raise _wrong(key, value, f"{least:g} seconds or more, and under 100 years")
        return float(value)

    return convert


def _urls(key: str, value: object) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else value
    if (
        not isinstance(given, (list, tuple))
        or not given
        or not all(
            isinstance(url, str) and _URL_OR_PATH.fullmatch(url) for url in given
        )
    ):
        wanted = 'a URL such as "amqp://user@host", a list of them, or a dotted path'
        raise _wrong(key, value, wanted)
    return tuple(given)


def _unroutable(key: str, value: object) -> Mapping[str, str]:
    rules = {"#": value} if isinstance(value, str) else value
    if not isinstance(rules, Mapping) or not all(
        isinstance(pattern, str) and rule in ("park", "ignore")
        for pattern, rule in rules.items()
    ):
        raise _wrong(
            key, value, '"park", "ignore", or a dict of type patterns to one of them'
        )
    return MappingProxyType(dict(rules))


def _trace_url(key: str, value: object) -> str:
    # Nothing but http: a script in a link would run in the admin.
    if isinstance(value, str) and (not value or _TRACE_URL.fullmatch(value)):
        return value
    wanted = 'empty, or a URL such as "https://jaeger.example.com/trace/{trace_id}"'
    raise _wrong(key, value, wanted)


_PARSERS: dict[str, Callable[[str, Any], Any]] = {
    "BROKER_URL": _urls,
    "EXCHANGE": _text,
    "SOURCE": _text,
    "REQUIRE_TRANSACTION": _boolean,
    "MAX_PAYLOAD_BYTES": _positive,
    "UNROUTABLE": _unroutable,
    "PARKED_HOLDS_KEY": _boolean,
    "MAX_ATTEMPTS": _positive,
    "MAX_BACKOFF": _seconds(0.001),
    "RETENTION": _seconds(0),
    "INBOX_RETENTION": _seconds(1),
    "HANDLER_TIMEOUT": _seconds(0.1),
    "WINDOW": _positive,
    "BATCH_SIZE": _positive,
    "LEASE": _seconds(0.5),
    "POLL_INTERVAL": _seconds(0.01),
    "FLAG_REFRESH": _seconds(0),
    "NOTIFY": _boolean,
    "UNHEALTHY_AFTER": _seconds(1),
    "TRACE_URL": _trace_url,
}
assert {key.lower() for key in _PARSERS} == {each.name for each in fields(Settings)}

# The STRANGLER that was seen last, a copy of it, and what was made of it.
_cache: tuple[Any, dict[str, Any] | None, Settings | None] = (None, None, None)
