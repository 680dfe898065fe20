"""
A copy of a safe request goes to the service, and the answers are compared.

The comparing is the experiments app's, found by a dotted path, ``FACADE["SHADOW"]``:
neither app imports the other. Requests that were seen to write are never copied: real
shops write on GET.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import connections
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string

from django_strangler import feature_flags
from django_strangler.announcing import Announcer
from django_strangler.services import service
from django_strangler.services.retries import SAFE_METHODS

from .conf import settings
from .headers import outgoing
from .paths import is_odd, raw_path
from .routes import Route
from .subjects import subject_of

trouble = Announcer(logging.getLogger("django_strangler.facade"))

COMPARED = ("content-type", "location", "cache-control", "content-language")
EXPERIMENTS = "django_strangler.experiments"
MOST = 256 * 1024  # Larger answers are not compared.
MOST_WRITERS = 10_000
_READS = ("SELECT", "SAVEPOINT", "RELEASE", "ROLLBACK", "SHOW", "PRAGMA", "EXPLAIN")

writers: set[tuple[str, str]] = set()  # Route and view that were seen to write.


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is compared of an answer."""

    status: int
    headers: dict[str, str]
    body: Any  # JSON, or the bytes of anything else.


def watched(
    request: HttpRequest,
    route: Route,
    legacy: Callable[[HttpRequest], HttpResponseBase],
) -> HttpResponseBase:
    """Legacy's response; a copy of the request is compared if that is harmless."""
    compare = _comparer(request, route)
    if compare is None:
        return legacy(request)
    response, wrote = _seen_writing(lambda: legacy(request))
    match = request.resolver_match
    view = (route.name, match.view_name if match else "")
    if wrote and len(writers) < MOST_WRITERS:
        writers.add(view)
    if not wrote and view not in writers and not response.streaming:
        try:
            _compare(compare, request, route, response)
        except Exception:  # noqa: BLE001  Of a comparison nobody learns but the log.
            _unseen(route)
    return response


def _unseen(route: Route) -> None:
    key = "shadow", route.name
    trouble.error(key, "Route %s: no shadow.", route.name, exc_info=True)


def _comparer(request: HttpRequest, route: Route) -> Callable[..., None] | None:
    path = settings().shadow
    if request.method not in SAFE_METHODS or (
        path.startswith(f"{EXPERIMENTS}.") and not apps.is_installed(EXPERIMENTS)
    ):
        return None
    try:
        if feature_flags.is_enabled(route.shadow, subject_of(request, route)):
            found: Callable[..., None] = import_string(path)
            return found
    except Exception:  # noqa: BLE001
        _unseen(route)
    return None


def _seen_writing(
    legacy: Callable[[], HttpResponseBase],
) -> tuple[HttpResponseBase, bool]:
    wrote = False

    def look(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        nonlocal wrote
        text = sql if isinstance(sql, str) else str(sql)
        if not text.lstrip("( \n\t").upper().startswith(_READS):
            wrote = True
        return execute(sql, params, many, context)

    with ExitStack() as stack:
        for connection in connections.all():
            stack.enter_context(connection.execute_wrapper(look))
        return legacy(), wrote


def _compare(
    compare: Callable[..., None], request: HttpRequest, route: Route, response: Any
) -> None:
    raw = raw_path(request)
    target = None if is_odd(raw) else route.target(raw)
    if target is None or len(response.content) > MOST:
        return
    if query := request.META.get("QUERY_STRING"):
        target = f"{target}?{query}"
    modern, method = service(route.service), request.method or "GET"
    sent = outgoing(request, route, settings().private_headers)
    sent.update(modern.identity(request, method, target))
    control = seen(response.status_code, response.headers, response.content)

    def candidate() -> Seen:
        exchange = modern.open(method, target, {**sent, "strangler-shadow": "1"})
        return seen(exchange.status, exchange.headers, exchange.read(MOST))

    compare(
        f"route-{route.name}"[:80],  # As long as an experiment's name may be.
        flag=route.shadow,
        subject=subject_of(request, route),
        control=control,
        candidate=candidate,
    )


def seen(status: int, headers: Any, body: bytes) -> Seen:
    """The parts of an answer that both sides should agree on."""
    value: Any = body
    if "json" in headers.get("Content-Type", ""):
        with suppress(ValueError):  # Else compared as bytes.
            value = json.loads(body)
    found = {name: headers[name] for name in COMPARED if name in headers}
    return Seen(status=status, headers=found, body=value)
