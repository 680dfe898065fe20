"""Subscribers: the application's functions for some types of events."""

from __future__ import annotations

import importlib
import inspect
import logging
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, TypeVar

from django.apps import apps

from django_strangler.brokers.patterns import is_pattern, matches
from django_strangler.events import Event
from django_strangler.exceptions import InvalidSubscriber

logger = logging.getLogger("django_strangler.inbox")

Handler = Callable[[Event], object]
HandlerT = TypeVar("HandlerT", bound=Handler)

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriber:
    """One function, and which events it is for."""

    name: str
    patterns: tuple[str, ...]
    flag: str | None
    handler: Handler

    def is_bound_to(self, type: str) -> bool:
        """Whether events of this type are routed to it."""
        return any(matches(pattern, type) for pattern in self.patterns)

    def wants(self, headers: Mapping[str, Any]) -> bool:
        """Whether the flag's decision, made when publishing, sends the event here."""
        return self.flag is None or headers.get(f"flag-{self.flag}") == "on"


def subscribe(
    *patterns: str, name: str, flag: str | None = None
) -> Callable[[HandlerT], HandlerT]:
    """
    Register a function for all events whose type matches one of the patterns.

    ``name`` stands for the function in the inbox: keep it when the function moves. With
    a ``flag``, only events that were published with that flag's decision "on" come.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidSubscriber(
            f"{name!r:.120} is not a subscriber's name. Use up to 100 lower-case "
            'letters, digits, dots, - and _: name="receipts".'
        )
    if not patterns or not all(map(is_pattern, patterns)):
        raise InvalidSubscriber(
            f"The subscriber {name!r} has the patterns {patterns!r:.200}. Give at "
            'least one of dotted words; * is a word and # any number: "payment.*".'
        )
    if flag is not None and not _NAME.fullmatch(flag):
        raise InvalidSubscriber(
            f"The subscriber {name!r} has no flag's name: {flag!r}."
        )

    def register(handler: HandlerT) -> HandlerT:
        call = getattr(handler, "__call__", None)  # noqa: B004  (an object's method)
        if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call):
            raise InvalidSubscriber(
                f"The subscriber {name!r} is an async function. Its effect shares a "
                "database transaction, which Django has for plain functions only: "
                "write it with def, and call async code by asgiref's async_to_sync()."
            )
        registry.add(
            Subscriber(name=name, patterns=patterns, flag=flag, handler=handler)
        )
        return handler

    return register


class Registry:
    """All subscribers of the process."""

    def __init__(self) -> None:
        self._by_name: dict[str, Subscriber] = {}
        self._discovered = False
        self._lock = threading.RLock()
        # What could not be imported, and why: nobody knows which events it is for.
        self.broken_modules: dict[str, str] = {}

    def add(self, subscriber: Subscriber) -> None:
        """Register it, unless another has its name."""
        known = self._by_name.get(subscriber.name)
        if known is not None and _place(known.handler) != _place(subscriber.handler):
            raise InvalidSubscriber(
                f"Two subscribers are named {subscriber.name!r}, "
                f"{_place(known.handler)} and {_place(subscriber.handler)}. The inbox "
                "tells them apart by name."
            )
        self._by_name[subscriber.name] = subscriber

    def all(self) -> list[Subscriber]:
        """Every subscriber, found in the apps' ``subscribers`` modules at first use."""
        with self._lock:
            if not self._discovered:
                self._discovered = True
                self._discover()
        return list(self._by_name.values())

    def bound_to(self, type: str) -> list[Subscriber]:
        """Those to which events of this type are routed."""
        return [each for each in self.all() if each.is_bound_to(type)]

    def _discover(self) -> None:
        for config in apps.get_app_configs():
            module = f"{config.name}.subscribers"
            try:
                if find_spec(module) is not None:
                    importlib.import_module(module)
            except (Exception, SystemExit) as error:
                self.broken_modules[module] = f"{type(error).__name__}: {error}"
                logger.exception(
                    "%s cannot be imported. Until that is mended its subscribers get "
                    "no events: each event is kept for them.",
                    module,
                )


def _place(handler: Handler) -> str:
    name = getattr(handler, "__qualname__", type(handler).__qualname__)
    return f"{handler.__module__}.{name}"


registry = Registry()
