"""
``STRANGLER["SERVICES"]`` and ``STRANGLER["IDENTITY"]``.

The entry ``"*"`` of SERVICES holds what is the same for all of them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from django_strangler import conf

from .errors import UnknownService

EVERYWHERE = "*"
_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def _text_or_none(value: object) -> str:
    return "" if value == "" else conf.text(value)


def _url(value: object) -> Any:
    # No user and password: a URL is shown in errors and on pages.
    if callable(value) or (isinstance(value, str) and _URL.fullmatch(value)):
        return value
    raise conf.Unfit(
        'a URL without user, query and fragment, such as "http://payments:3000"'
    )


def _network(value: object) -> str:
    try:
        return str(ipaddress.ip_network(value, strict=False))  # type: ignore[arg-type]
    except ValueError:
        raise conf.Unfit('an address or a network such as "10.0.0.0/8"') from None


def _never_or_seconds(value: object) -> float | None:
    return None if value is None else conf.seconds(0.001)(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """How one service is called; durations are in seconds."""

    # Called each time, if it is a function: for who has a registry of services.
    url: Any = conf.setting("", _url)
    # A whole call: every try, and the body to its last byte.
    timeout: float = conf.setting(2.0, conf.seconds(0.001))
    connect_timeout: float = conf.setting(0.5, conf.seconds(0.001))
    # The body of an answer that is handed on while it comes, as the facade does.
    stream_timeout: float = conf.setting(60.0, conf.seconds(0.001))
    max_in_flight: int = conf.setting(8, conf.positive)  # Calls at once, per process.
    max_body: int = conf.setting(10 * 1024 * 1024, conf.positive)  # Of an answer.
    retries: bool = conf.setting(False, conf.boolean)  # One more try, where harmless.
    # "observed" counts and never refuses.
    breaker: str = conf.setting(
        "enforced", conf.choice("enforced", "observed", "forced-open", "off")
    )
    fail_on_500: bool = conf.setting(True, conf.boolean)
    slow_after: float | None = conf.setting(None, _never_or_seconds)
    # Pooled connections. DNS changes are seen after max_age; Node.js closes idle
    # connections after 5 seconds.
    max_age: float = conf.setting(60.0, conf.seconds(0))
    max_idle: float = conf.setting(4.0, conf.seconds(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Everywhere(ServiceSettings):
    """The entry ``"*"``: defaults of all services, and what is about none of them."""

    cache: str = conf.setting("default", conf.text)  # For breakers' hints to others.
    request_budget: float | None = conf.setting(None, _never_or_seconds)
    trusted_proxies: tuple[str, ...] = conf.setting((), conf.listing(_network))


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """All of the section."""

    named: Mapping[str, ServiceSettings]
    uncapped: frozenset[str]  # Those whose MAX_IN_FLIGHT nobody has set.
    everywhere: Everywhere


def _services(value: object) -> Services:
    given: Mapping[str, Any] = conf.mapping(lambda each: each)(value)
    general = given.get(EVERYWHERE, {})
    everywhere = conf.mapping(lambda each: each)(general) and conf.table(Everywhere)(
        general
    )
    shared = {key: each for key, each in general.items() if key in _SHARED}
    named, uncapped = {}, set()
    for name, each in given.items():
        if name == EVERYWHERE:
            continue
        if not _NAME.fullmatch(name):
            raise conf.Unfit("a dict from names, in lower case, to settings")
        entry = {"URL": each} if isinstance(each, str) else each
        if isinstance(entry, Mapping):
            entry = {**shared, **entry}
            if "MAX_IN_FLIGHT" not in entry:
                uncapped.add(name)
        named[name] = conf.mapping(conf.table(ServiceSettings))({name: entry})[name]
        if not named[name].url:
            raise conf.Unfit(f'a dict in which {name!r} has a "URL"')
    return Services(
        named=MappingProxyType(named),
        uncapped=frozenset(uncapped),
        everywhere=everywhere or Everywhere(),
    )


_SHARED = frozenset(name.upper() for name in ServiceSettings.__dataclass_fields__)

services = conf.section("SERVICES", _services)


def everywhere() -> Everywhere:
    """What is the same for all services."""
    return services().everywhere


def is_same(one: ServiceSettings, other: ServiceSettings) -> bool:
    """Whether a service is called as before; most often it is the very same object."""
    return one is other or one == other


@lru_cache(maxsize=1000)
def is_trusted(address: str, networks: tuple[str, ...]) -> bool:
    """Whether a request from there is from one of our own."""
    try:
        host = ipaddress.ip_address(address)
    except ValueError:  # A Unix socket has none: only our own proxy can be there.
        return not address and bool(networks)
    return any(host in ipaddress.ip_network(each, strict=False) for each in networks)


def settings_of(name: str) -> ServiceSettings:
    """A service's settings; an error names those there are."""
    known = services().named
    if name not in known:
        names = ", ".join(sorted(known)) or "none"
        raise UnknownService(
            f"There is no service {name!r}. Give STRANGLER['SERVICES'][{name!r}] a "
            f"URL. Known: {names}."
        )
    return known[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySettings:
    """Who signs identities, and who is believed."""

    # Private keys in PEM (Ed25519), the newest first: it signs, all are published.
    keys: tuple[str, ...] = conf.setting((), conf.listing(conf.long_text), secret=True)
    ttl: float = conf.setting(60.0, conf.seconds(1))
    leeway: float = conf.setting(5.0, conf.seconds(0))  # For clocks that differ.
    # Of the verifying side: where the keys are, and which name it answers to.
    keys_url: str = conf.setting("", _text_or_none)
    issuer: str = conf.setting("monolith", conf.text)
    audience: str = conf.setting("", _text_or_none)
    # A cache that all processes share: a token is then good for one unsafe request.
    once: str = conf.setting("", _text_or_none)


identity = conf.section("IDENTITY", IdentitySettings)
