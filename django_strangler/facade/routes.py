"""Routes: which part of the URLs a service may take, and for whom."""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from django.http import HttpRequest

from django_strangler.exceptions import StranglerError

DataPath = Literal["proxy", "accel"]
Subject = Callable[[HttpRequest], Any]

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
_PREFIX = re.compile(r"/([^\s?#%]*/)?")
SEGMENT = "/:@!$&'()*+,;=-._~"  # What stands in a path without an escape.


class InvalidRoute(StranglerError, ValueError):
    """A route cannot be registered like this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Some URLs, the service that may take them, and the flag that says for whom."""

    name: str
    service: str
    flag: str
    prefix: str = ""
    regex: re.Pattern[str] | None = None
    view_names: frozenset[str] = frozenset()
    subject: Subject | None = None
    methods: frozenset[str] = frozenset()  # Empty: all.
    rewrite: str | Callable[[str], str] | None = None
    data_path: DataPath = "proxy"
    fallback: bool = True
    idempotent: bool = False  # Both sides honour the same Idempotency-Keys.
    forward: frozenset[str] = frozenset()  # Private headers that the service gets.
    shadow: str = ""
    module: str = ""  # Which declares it: its domain on the board.
    raw_prefix: str = field(init=False, default="")

    def __post_init__(self) -> None:
        # As it stands in a request line.
        object.__setattr__(self, "raw_prefix", quote(self.prefix, safe=SEGMENT))

    @property
    def where(self) -> str:
        """What it routes, for people."""
        pattern = self.regex.pattern if self.regex is not None else ""
        return self.prefix or pattern or ", ".join(sorted(self.view_names))

    @property
    def source(self) -> str:
        """The name of its evidence."""
        return f"route:{self.name}"

    def target(self, raw: str) -> str | None:
        """The path for the service; None if it is written too oddly to be rewritten."""
        if self.prefix and not raw.startswith(self.raw_prefix):
            return None  # "/api%2Fpayments/": the same to Django, and not to a service.
        if self.rewrite is None:
            return raw
        if callable(self.rewrite):
            return self.rewrite(raw)
        return self.rewrite + raw[len(self.raw_prefix) :]


class Routes:
    """All routes. Looked up for every request, so one comparison says no to most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.by_name: dict[str, Route] = {}
        self._prefixes: tuple[str, ...] = ()
        self._by_prefix: tuple[Route, ...] = ()
        self._by_regex: tuple[Route, ...] = ()
        self.by_view: dict[str, Route] = {}

    def __iter__(self) -> Any:
        return iter(self.by_name.values())

    def add(self, route: Route) -> None:
        with self._lock:
            if route.name in self.by_name:
                raise InvalidRoute(
                    f"There is a route {route.name!r} already. Give each a name of its "
                    "own: its evidence is kept under it."
                )
            self.by_name[route.name] = route
            self._arrange()

    def remove(self, name: str) -> None:
        """For tests."""
        with self._lock:
            del self.by_name[name]
            self._arrange()

    def match(self, path: str) -> Route | None:
        """The route with the longest prefix of a path, else the first pattern's."""
        if path.startswith(self._prefixes):
            for route in self._by_prefix:
                if path.startswith(route.prefix):
                    return route
        for route in self._by_regex:
            if route.regex is not None and route.regex.match(path):
                return route
        return None

    def _arrange(self) -> None:
        found = list(self.by_name.values())
        by_prefix = [route for route in found if route.prefix]
        self._by_prefix = tuple(sorted(by_prefix, key=lambda each: -len(each.prefix)))
        self._prefixes = tuple(route.prefix for route in by_prefix)
        self._by_regex = tuple(route for route in found if route.regex is not None)
        self.by_view = {name: each for each in found for name in each.view_names}


routes = Routes()


def route(
    name: str,
    prefix: str = "",
    *,
    service: str,
    flag: str,
    regex: str = "",
    view_names: Sequence[str] = (),
    subject: Subject | None = None,
    methods: Iterable[str] = (),
    rewrite: str | Callable[[str], str] | None = None,
    data_path: DataPath = "proxy",
    fallback: bool = True,
    idempotent: bool = False,
    forward: Iterable[str] = (),
    shadow: str = "",
) -> Route:
    """
    Let a service take some URLs, for those whose flag is on.

    Either a prefix that ends with a slash, or ``regex`` for the path, or names of views
    of the monolith. ``subject`` takes the request and returns whom the flag is asked
    for. ``rewrite`` replaces the prefix, or is a function of the path as it came.
    ``idempotent`` says that both sides honour the same idempotency keys, so a request
    with one may be repeated. ``forward`` names private headers, such as Authorization,
    that the service gets.
    """
    caller = inspect.currentframe()
    caller = caller.f_back if caller is not None else None
    if not _NAME.fullmatch(name):
        raise InvalidRoute(
            f"{name!r:.120} is not a route's name. Use up to 100 lower-case letters, "
            'digits and -: "payments-api".'
        )
    if bool(prefix) + bool(regex) + bool(view_names) != 1:
        raise InvalidRoute(
            f"The route {name!r} needs a prefix, or regex=, or view_names=: one of "
            "them."
        )
    if prefix and not _PREFIX.fullmatch(prefix):
        raise InvalidRoute(
            f"The route {name!r} has the prefix {prefix!r:.120}. Let it begin and end "
            'with a slash, and write it without escapes: "/api/payments/".'
        )
    if isinstance(rewrite, str) and not (prefix and rewrite.startswith("/")):
        raise InvalidRoute(
            f"The route {name!r} rewrites to {rewrite!r:.120}. A text replaces the "
            "prefix, and begins with a slash; else pass a function of the path."
        )
    if data_path not in ("proxy", "accel"):
        raise InvalidRoute(
            f'The route {name!r} has data_path={data_path!r:.40}. Use "proxy", where '
            'Django carries the bytes, or "accel", where nginx does.'
        )
    made = Route(
        name=name,
        service=service,
        flag=flag,
        prefix=prefix,
        regex=_compiled(name, regex),
        view_names=frozenset(view_names),
        subject=subject,
        methods=frozenset(each.upper() for each in methods),
        rewrite=rewrite,
        data_path=data_path,
        fallback=fallback,
        idempotent=idempotent,
        forward=frozenset(each.lower() for each in forward),
        shadow=shadow,
        module=caller.f_globals["__name__"] if caller is not None else "",
    )
    routes.add(made)
    return made


def _compiled(name: str, regex: str) -> re.Pattern[str] | None:
    try:
        return re.compile(regex) if regex else None
    except re.error as error:
        raise InvalidRoute(
            f"The route {name!r} has a regex that fails: {error}."
        ) from error
