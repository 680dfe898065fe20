"""
Tables: frozen dataclasses whose fields carry their parsers.

The keys are the fields' names in upper case, so nothing about a setting is written
twice.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar

from django_strangler.exceptions import shown

from . import parsers
from .parsers import BrokerURL, Unfit, UnknownKey, inside

T = TypeVar("T")


def setting(default: T, parse: Callable[[object], T], *, secret: bool = False) -> T:
    """A field of a table. A secret is neither repeated in errors nor shown by repr."""
    found: T = field(
        default_factory=lambda: default,
        metadata={"parse": parse, "secret": secret},
        repr=not secret,
    )
    return found


def table(cls: Callable[..., T]) -> Callable[[object], T]:
    """A dict that is parsed by the fields of a table."""

    def parse(value: object) -> T:
        if not isinstance(value, Mapping):
            raise Unfit("a dict")
        known = keys(cls)
        for key in value:
            if key not in known:
                raise unknown(key, known)
        return cls(
            **{
                key.lower(): inside(
                    key, known[key]["parse"], each, secret=known[key]["secret"]
                )
                for key, each in value.items()
            }
        )

    return parse


@cache
def keys(cls: Any) -> Mapping[Any, Mapping[Any, Any]]:
    """The keys of a table, in their order, each with what its field carries."""
    return MappingProxyType({each.name.upper(): each.metadata for each in fields(cls)})


def unknown(key: object, known: Mapping[Any, object]) -> UnknownKey:
    """The error for a key that no field has: it names the nearest one that has."""
    near = difflib.get_close_matches(str(key).upper(), known, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
    return UnknownKey(f"has an unknown key {shown(key)}. {hint}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """``STRANGLER["RELAY"]``: the inner life of a relay."""

    window: int = setting(1000, parsers.positive)  # Events sent and not yet marked.
    batch_size: int = setting(500, parsers.positive)  # Events marked by one statement.
    lease: float = setting(10.0, parsers.seconds(0.5))
    poll_interval: float = setting(1.0, parsers.seconds(0.01))
    # Wake relays by NOTIFY, where the database has it.
    notify: bool = setting(True, parsers.boolean)
    # The longest pause between two attempts.
    max_backoff: float = setting(60.0, parsers.seconds(0.001))
    rate: int = setting(0, parsers.count)  # Events a second, per relay; 0: no limit.


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The core's settings with their defaults; durations are in seconds."""

    # Secret: a URL may hold a password.
    broker_url: tuple[str, ...] = setting(
        (BrokerURL("local://"),), parsers.urls, secret=True
    )
    # Apart, because error reports mask what is called a password, and no URL.
    broker_password: str = setting("", parsers.password, secret=True)
    exchange: str = setting("domain-events", parsers.text)
    source: str = setting("monolith", parsers.text)
    require_transaction: bool = setting(True, parsers.boolean)
    max_payload_bytes: int = setting(1024 * 1024, parsers.positive)
    unroutable: Mapping[str, str] = setting(
        MappingProxyType({"#": "park"}), parsers.unroutable
    )
    # How long a type without a queue is tried again before its events are parked.
    unroutable_grace: float = setting(30.0, parsers.seconds(0))
    parked_holds_key: bool = setting(False, parsers.boolean)
    max_attempts: int = setting(10, parsers.positive)
    retention: float = setting(7 * 86400.0, parsers.seconds(0))
    # How long a repeated event is recognised.
    inbox_retention: float = setting(90 * 86400.0, parsers.seconds(1))
    # How long a consumer's subscriber may take.
    handler_timeout: float = setting(60.0, parsers.seconds(0.1))
    # How old a process's view of the flags may get.
    flag_refresh: float = setting(1.0, parsers.seconds(0))
    # How long legacy must have been silent before it may be deleted.
    retire_after: float = setting(14 * 86400.0, parsers.seconds(0))
    # How long an event may be due and not sent.
    unhealthy_after: float = setting(60.0, parsers.seconds(1))
    # "type": of subscribers' errors nothing is kept that could quote a payload.
    log_errors: str = setting("text", parsers.choice("text", "type"))
    # Where a trace is shown: "https://…/trace/{trace_id}".
    trace_url: str = setting("", parsers.trace_url)
    # Who may publish a type, by pattern; anybody whom the broker lets, without a rule.
    trusted_publishers: Mapping[str, tuple[str, ...]] = setting(
        MappingProxyType({}), parsers.mapping(parsers.listing(parsers.text))
    )
    relay: RelaySettings = setting(RelaySettings(), table(RelaySettings))

    @property
    def may_quote_errors(self) -> bool:
        """Whether the text of a subscriber's error is kept: it can quote anything."""
        return self.log_errors == "text"

    def __post_init__(self) -> None:
        """Put the password where the broker looks for it."""
        if not self.broker_password:
            return
        urls = [BrokerURL(url) for url in self.broker_url]
        try:
            urls = [url.with_password(self.broker_password) for url in urls]
        except Unfit as error:
            error.place = "['BROKER_PASSWORD']"
            raise
        object.__setattr__(self, "broker_url", tuple(urls))
        object.__setattr__(self, "broker_password", "")
