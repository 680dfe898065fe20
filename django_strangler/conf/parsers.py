"""What a setting may be: each parser returns the value to use, or raises ``Unfit``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import quote

from django_strangler.exceptions import shown

T = TypeVar("T")

_URL_OR_PATH = re.compile(r"[a-z][a-z0-9+.-]*://[^\s]*|[^\W\d]\w*(\.[^\W\d]\w*)+")
# Up to the last @: a password may hold one, where nobody has escaped it.
_USER_AND_PASSWORD = re.compile(r"(?<=://)(?s:.*)@")
_TRACE_URL = re.compile(r"https?://\S*\{trace_id\}\S*")


class Unfit(Exception):
    """A value is not what is wanted; ``wanted`` follows on "It must be"."""

    def __init__(self, wanted: str) -> None:
        super().__init__(wanted)
        self.wanted = wanted
        self.given: str | None = None  # As a message shows it; empty for a secret.
        self.place = ""  # ['TIMEOUT'] in the table, ['FACADE']['TIMEOUT'] in all.

    def __str__(self) -> str:
        given = f" is {self.given}. It" if self.given else ""
        return f"STRANGLER{self.place}{given} must be {self.wanted}."


class BrokerURL(str):
    """A URL that may hold a password. Its repr, which error reports show, does not."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(_USER_AND_PASSWORD.sub("***@", self))

    def with_password(self, password: str) -> BrokerURL:
        """The same with the password of the user whom it names."""
        scheme, separator, rest = self.partition("://")
        user, at, host = rest.rpartition("@")
        if not scheme.startswith("amqp"):
            return self
        if not at or not user:
            raise Unfit('given with the user in BROKER_URL: "amqp://user@host"')
        if ":" in user:
            raise Unfit("empty where BROKER_URL holds a password")
        return BrokerURL(f"{scheme}{separator}{user}:{quote(password, safe='')}@{host}")


class UnknownKey(Unfit):
    """A key that no field has; ``wanted`` says what is wrong with it."""

    def __str__(self) -> str:
        return f"STRANGLER{self.place} {self.wanted}"


def inside(
    place: object, parse: Callable[[object], T], value: object, *, secret: bool = False
) -> T:
    """Parse what is in that place of a dict or list, and let an error name it."""
    try:
        return parse(value)
    except Unfit as error:
        if secret:
            error.given = ""
        elif error.given is None:
            error.given = shown(value)
        error.place = f"[{shown(place)}]{error.place}"
        raise


def boolean(value: object) -> bool:
    """True or False, and nothing that is merely like them."""
    if not isinstance(value, bool):
        raise Unfit("True or False")
    return value


def text(value: object) -> str:
    """One line of text that fits everywhere."""
    # Not printable are control characters, and halves of a surrogate pair.
    if (
        not isinstance(value, str)
        or not value.isprintable()
        or not 1 <= len(value.encode()) <= 255
    ):
        raise Unfit("a text of 1 to 255 bytes without control characters")
    return value


def long_text(value: object) -> str:
    """A text of any length, also one of several lines, such as a key in PEM."""
    if not isinstance(value, str) or not value:
        raise Unfit("a text that is not empty")
    return value


def positive(value: object) -> int:
    """A whole number that an integer column can hold."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        raise Unfit(f"a whole number from 1 to {2**31 - 1}")
    return value


def count(value: object) -> int:
    """A whole number that may be 0."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise Unfit(f"a whole number from 0 to {2**31 - 1}")
    return value


def fraction(value: object) -> float:
    """A share of a whole."""
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or (not 0 <= value <= 1)
    ):
        raise Unfit("a number from 0 to 1")
    return float(value)


def seconds(least: float) -> Callable[[object], float]:
    """A duration, given as a number of seconds or a timedelta."""

    def parse(value: object) -> float:
        if isinstance(value, timedelta):
            value = value.total_seconds()
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Unfit("a number of seconds or a timedelta")
        # Written so that NaN fails as well; a century is beyond any database's dates.
        if not least <= value <= 100 * 365 * 86400:
            raise Unfit(f"{least:g} seconds or more, and less than 100 years")
        return float(value)

    return parse


def choice(*texts: str) -> Callable[[object], str]:
    """One of these texts."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in texts:
            raise Unfit(" or ".join(f'"{each}"' for each in texts))
        return value

    return parse


def dotted_path(value: object) -> str:
    """Where something can be imported from. It is not imported yet."""
    if (
        not isinstance(value, str)
        or "." not in value
        or not all(part.isidentifier() for part in value.split("."))
    ):
        raise Unfit('a dotted path such as "shop.context.tenant"')
    return value


def listing(parse_item: Callable[[object], T]) -> Callable[[object], tuple[T, ...]]:
    """A list or a tuple of what the parser accepts."""

    def parse(value: object) -> tuple[T, ...]:
        if not isinstance(value, (list, tuple)):
            raise Unfit("a list")
        return tuple(inside(n, parse_item, each) for n, each in enumerate(value))

    return parse


def mapping(parse_value: Callable[[object], T]) -> Callable[[object], Mapping[str, T]]:
    """A dict from names to what the parser accepts."""

    def parse(value: object) -> Mapping[str, T]:
        if not isinstance(value, Mapping) or not all(
            isinstance(name, str) and name for name in value
        ):
            raise Unfit("a dict from names to values")
        return MappingProxyType(
            {name: inside(name, parse_value, each) for name, each in value.items()}
        )

    return parse


def urls(value: object) -> tuple[str, ...]:
    """Where a broker is: a URL, several of them, or a dotted path of a class."""
    given = [value] if isinstance(value, str) else value
    if (
        not isinstance(given, (list, tuple))
        or not given
        or not all(
            isinstance(url, str) and _URL_OR_PATH.fullmatch(url) for url in given
        )
    ):
        raise Unfit(
            'a URL such as "amqp://user@host", a list of them, or a dotted path'
        )
    return tuple(map(BrokerURL, given))


def password(value: object) -> str:
    """A password, or nothing."""
    if not isinstance(value, str) or "\0" in value:
        raise Unfit("a text")
    return value


def unroutable(value: object) -> Mapping[str, str]:
    """A rule for events that no queue wants, or one by pattern of types."""
    rules = {"#": value} if isinstance(value, str) else value
    if not isinstance(rules, Mapping) or not all(
        isinstance(pattern, str) and rule in ("park", "ignore")
        for pattern, rule in rules.items()
    ):
        raise Unfit('"park", "ignore", or a dict of type patterns to one of them')
    return MappingProxyType(dict(rules))


def trace_url(value: object) -> str:
    """Where a trace is shown; http only, because a script in a link would run."""
    if isinstance(value, str) and (not value or _TRACE_URL.fullmatch(value)):
        return value
    raise Unfit('empty, or a URL such as "https://jaeger.example.com/trace/{trace_id}"')
