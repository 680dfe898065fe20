"""
What a request carried, for those who act on its events later: language, time zone, …

``STRANGLER["CONTEXT"]`` lists what travels, and is empty by default. Each is captured
as a text when an event is published or a service called, and restored around the
subscribers, and by the service's ``ContextMiddleware``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import timezone as django_timezone
from django.utils import translation
from django.utils.module_loading import import_string

from django_strangler import conf
from django_strangler.exceptions import ConfigurationError, InvalidHeader

__all__ = ["Carried", "capture", "restored"]

PREFIX = "strangler-context-"
LONGEST = 255  # Characters.

settings = conf.section("CONTEXT", conf.listing(conf.dotted_path), ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """One thing that a request carries; ``capture`` may return None for nothing."""

    name: str  # Of the header: strangler-context-<name>.
    capture: Callable[[], str | None]
    restore: Callable[[str], AbstractContextManager[Any]]


def carried() -> Iterator[Carried]:
    """What travels."""
    return map(_carried, settings())


def capture() -> dict[str, str]:
    """The headers that carry what is in force now."""
    found = {}
    for each in carried():
        text = each.capture()
        if text is None:
            continue
        if not isinstance(text, str) or not text.isprintable() or len(text) > LONGEST:
            raise InvalidHeader(
                f"{each.name!r} of STRANGLER['CONTEXT'] has captured {text!r:.80}. "
                f"Return up to {LONGEST} printable characters, or None for nothing."
            )
        found[PREFIX + each.name] = text
    return found


def restored(headers: Mapping[str, Any]) -> AbstractContextManager[None]:
    """
    What was captured, in force again.

    What a foreign publisher left out stays as it is in this process. One that cannot be
    restored is an error: a subscriber must not act for the wrong tenant.
    """
    return _restored(headers) if settings() else nullcontext()


@contextmanager
def _restored(headers: Mapping[str, Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for each in carried():
            text = headers.get(PREFIX + each.name)
            if isinstance(text, str):
                stack.enter_context(each.restore(text))
        yield


def _carried(path: str) -> Carried:
    try:
        found = import_string(path)
    except ImportError as error:
        raise ConfigurationError(
            f"STRANGLER['CONTEXT'] names {path!r}, which cannot be imported: {error}."
        ) from error
    if not isinstance(found, Carried):
        raise ConfigurationError(
            f"STRANGLER['CONTEXT'] names {path!r}, which is not a Carried. Make it: "
            "Carried(name=…, capture=…, restore=…), of django_strangler.context."
        )
    return found


def _language(text: str) -> AbstractContextManager[Any]:
    # From outside: only a language that this project has. Another one changes nothing.
    try:
        known = translation.get_supported_language_variant(text)
    except LookupError:
        return nullcontext()
    return translation.override(known)


def _timezone(text: str) -> AbstractContextManager[Any]:
    try:
        return django_timezone.override(ZoneInfo(text))
    except (KeyError, ValueError, OSError):  # No name of a zone.
        return nullcontext()


def _timezone_name() -> str | None:
    key = getattr(django_timezone.get_current_timezone(), "key", None)
    return key if isinstance(key, str) else None  # An offset has no name.


language = Carried(name="language", capture=translation.get_language, restore=_language)
timezone = Carried(name="timezone", capture=_timezone_name, restore=_timezone)
