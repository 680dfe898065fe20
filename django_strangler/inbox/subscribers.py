"""Subscribers: the application's functions for some types of events."""

from __future__ import annotations

import importlib
import inspect
import logging
import re
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from django.apps import apps

from django_strangler import extending
from django_strangler.brokers.patterns import is_pattern, matches
from django_strangler.events import Event
from django_strangler.exceptions import InvalidSubscriber

logger = logging.getLogger("django_strangler.inbox")

Handler = Callable[[Event], object]
HandlerT = TypeVar("HandlerT", bound=Handler)

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
LONGEST_DELAY = 30 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriber:
    """One function, and which events it is for."""

    name: str
    patterns: tuple[str, ...]
    flag: str | None
    handler: Handler
    trusted: tuple[str, ...] | None = None
    retry_delays: tuple[float, ...] | None = None
    final_errors: tuple[type[BaseException], ...] = ()
    contracts: tuple[extending.Contract, ...] = ()  # Of what it is given typed.

    def is_bound_to(self, type: str) -> bool:
        """Whether events of this type are routed to it."""
        return any(matches(pattern, type) for pattern in self.patterns)

    def wants(self, headers: Mapping[str, Any]) -> bool:
        """Whether the flag's decision, made when publishing, sends the event here."""
        return self.flag is None or headers.get(f"flag-{self.flag}") == "on"


def subscribe(
    *patterns: str | type,
    name: str,
    flag: str | None = None,
    trusted: Collection[str] | None = None,
    retry_delays: Iterable[float] | None = None,
    final_errors: Iterable[type[BaseException]] = (),
) -> Callable[[HandlerT], HandlerT]:
    """
    Register a function for all events whose type matches one of the patterns.

    A class that ``contracts.event`` or ``contracts.reads`` has decorated stands for its
    type, and the function finds an instance in ``event.data``.

    ``name`` stands for the function in the inbox: keep it when the function moves. With
    a ``flag``, only events that were published with that flag's decision "on" come.
    With ``trusted``, only events of these publishers, for whom the broker vouches. It
    is called again after ``retry_delays``, unless it raises one of ``final_errors``.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidSubscriber(
            f"{name!r:.120} is not a subscriber's name. Use up to 100 lower-case "
            'letters, digits, dots, - and _: name="receipts".'
        )
    contracts = tuple(
        extending.contract_of(each) for each in patterns if isinstance(each, type)
    )
    bound = tuple(
        extending.contract_of(each).type if isinstance(each, type) else each
        for each in patterns
    )
    if not bound or not all(map(is_pattern, bound)):
        raise InvalidSubscriber(
            f"The subscriber {name!r} has the patterns {bound!r:.200}. Give at "
            'least one of dotted words; * is a word and # any number: "payment.*".'
        )
    if flag is not None and not _NAME.fullmatch(flag):
        raise InvalidSubscriber(
            f"The subscriber {name!r} has no flag's name: {flag!r}."
        )

    trusted = _names(name, trusted)
    delays = _delays(name, retry_delays)
    errors = _errors(name, final_errors)
    errors += tuple(one for each in contracts for one in each.final_errors)

    def register(handler: HandlerT) -> HandlerT:
        call = getattr(handler, "__call__", None)  # noqa: B004  (an object's method)
        if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call):
            raise InvalidSubscriber(
                f"The subscriber {name!r} is an async function. Its effect shares a "
                "database transaction, which Django has for plain functions only: "
                "write it with def, and call async code by asgiref's async_to_sync()."
            )
        registry.add(
            Subscriber(
                name=name,
                patterns=bound,
                flag=flag,
                handler=extending.typed(handler, contracts) if contracts else handler,
                trusted=trusted,
                retry_delays=delays,
                final_errors=errors,
                contracts=contracts,
            )
        )
        return handler

    return register


def _names(name: str, given: Collection[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = () if isinstance(given, str) else tuple(given)
    if not names or not all(isinstance(each, str) and each for each in names):
        raise InvalidSubscriber(
            f"The subscriber {name!r} trusts {given!r:.200}. Give a list of the "
            'broker\'s users, trusted=["relay"], or leave it out.'
        )
    return names


def _delays(name: str, given: Iterable[float] | None) -> tuple[float, ...] | None:
    if given is None:
        return None
    try:
        delays = tuple(map(float, given))
    except (TypeError, ValueError):
        delays = (-1.0,)
    if not all(0.001 <= each <= LONGEST_DELAY for each in delays):
        raise InvalidSubscriber(
            f"The subscriber {name!r} has the retry_delays {given!r:.200}. Give "
            "seconds, each from 0.001 to 30 days: retry_delays=[5, 60, 3600]."
        )
    return delays


def _errors(
    name: str, given: Iterable[type[BaseException]]
) -> tuple[type[BaseException], ...]:
    one: Any = given
    errors: tuple[type[BaseException], ...] = (
        (one,) if isinstance(one, type) else tuple(given)
    )
    if not all(
        isinstance(each, type) and issubclass(each, BaseException) for each in errors
    ):
        raise InvalidSubscriber(
            f"The subscriber {name!r} has the final_errors {given!r:.200}. Give "
            "classes of exceptions: final_errors=[ObjectDoesNotExist]."
        )
    return errors


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

    def modules_of_the_project(self) -> list[str]:
        """Where a subscriber of the project's own apps is looked for."""
        return [
            f"{config.name}.subscribers"
            for config in apps.get_app_configs()
            if not {"site-packages", "dist-packages"} & set(Path(config.path).parts)
            and config.name.partition(".")[0] != "django_strangler"
        ]

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
