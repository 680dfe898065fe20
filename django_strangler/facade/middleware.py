"""What looks at each request, and lets a service answer those that are routed to it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from django_strangler import counting, evidence
from django_strangler.announcing import Announcer
from django_strangler.exceptions import StranglerError
from django_strangler.services import service

from . import csrf, shadows, subjects
from .deciding import Decision, Side, decide
from .proxying import End, Forwarded, forward
from .replies import problem
from .routes import Route, routes

SIDE = "Strangler-Side"
trouble = Announcer(logging.getLogger("django_strangler.facade"))

requests = counting.counter(
    "facade_requests",
    "Requests of routed paths, by the side that answered and how it ended.",
    labels=("route", "side", "end"),
)
seconds_taken = counting.histogram(
    "facade_seconds",
    "How long routed requests took, to the head of the response.",
    labels=("route", "side"),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

GetResponse = Callable[[HttpRequest], HttpResponseBase]


class FacadeMiddleware:
    """Put it after authentication: a route's flag is asked for ``request.user``."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        route = routes.match(request.path_info)
        if route is None:
            if routes.by_view:
                return self._perhaps_by_view(request)
            return self.get_response(request)
        asked = self._asked(request, route)
        if isinstance(asked, HttpResponseBase):
            return asked
        begun = time.perf_counter()
        if route.shadow:
            response = shadows.watched(request, route, self.get_response)
        else:
            response = self.get_response(request)
        return _from_legacy(request, response, asked, time.perf_counter() - begun)

    def _perhaps_by_view(self, request: HttpRequest) -> HttpResponseBase:
        begun = time.perf_counter()
        response = self.get_response(request)
        asked = getattr(request, "_strangler_asked", None)
        if asked is None:
            return response
        return _from_legacy(request, response, asked, time.perf_counter() - begun)

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        """Routes by the names of views, which are known only now."""
        match = request.resolver_match
        if match is None or match.view_name not in routes.by_view:
            return None
        if routes.match(request.path_info) is not None:
            return None  # Another route has decided already.
        asked = self._asked(request, routes.by_view[match.view_name], is_checked=True)
        if isinstance(asked, HttpResponseBase):
            return asked
        request._strangler_asked = asked  # type: ignore[attr-defined]
        return None

    def _asked(
        self, request: HttpRequest, route: Route, *, is_checked: bool = False
    ) -> HttpResponseBase | Asked:
        """The modern side's response, or what is known when legacy is to answer."""
        decision = _decided(request, route)
        if decision.side is Side.LEGACY:
            if decision.is_fallback:
                evidence.note(route.source, side=Side.MODERN.value, ok=False)
                return Asked(route, decision, End.FALLBACK)
            return Asked(route, decision, End.ANSWERED)
        refusal = None if is_checked else _forged(request)
        if refusal is not None:
            return _sided(refusal, Side.LEGACY)
        if route.data_path == "accel":
            return self._by_nginx(request, route, decision)
        if request.META.get("HTTP_UPGRADE", "").lower() == "websocket":
            text = "Websockets do not go through Django. Let nginx carry this route."
            return _sided(problem(501, "Not Implemented", text), Side.MODERN)
        begun = time.perf_counter()
        done = forward(request, route, decision)
        seconds = time.perf_counter() - begun
        if done.end not in (End.CLIENT_LEFT, End.UNREADABLE):
            _note_modern(route, decision, done, seconds)
        if done.response is None:
            return Asked(route, decision, done.end)
        _count(route, Side.MODERN, done.end, seconds)
        if decision.by_subject:
            subjects.bind(request, done.response, route)
        return _sided(done.response, Side.MODERN)

    def _by_nginx(
        self, request: HttpRequest, route: Route, decision: Decision
    ) -> HttpResponseBase:
        response = HttpResponse()
        del response["Content-Type"]
        # Else it goes in chunks, and nginx gives up its connection for each request.
        response["Content-Length"] = "0"
        response["X-Accel-Redirect"] = f"@strangler_{route.name}"
        token = service(route.service).identity(
            request, request.method or "GET", decision.target
        )
        for name, value in token.items():
            response[name] = value
        requests.add(route.name, Side.MODERN.value, "handed-on")
        if decision.by_subject:
            subjects.bind(request, response, route)
        return _sided(response, Side.MODERN)


@dataclass(frozen=True, slots=True)
class Asked:
    """Legacy is to answer: of which route, and why."""

    route: Route
    decision: Decision
    end: End


def _from_legacy(
    request: HttpRequest, response: HttpResponseBase, asked: Asked, seconds: float
) -> HttpResponseBase:
    route, end = asked.route, asked.end
    ok = response.status_code < 500
    evidence.note(route.source, side=Side.LEGACY.value, ok=ok, seconds=seconds)
    if end is End.ANSWERED and not ok:
        end = End.FAILED
    _count(route, Side.LEGACY, end, seconds)
    if asked.decision.by_subject:
        subjects.bind(request, response, route)
    return _sided(response, Side.LEGACY)


# By route: the version of the flags by which its service failed last.
_failed: dict[str, str] = {}


def _note_modern(
    route: Route, decision: Decision, done: Forwarded, seconds: float
) -> None:
    if done.is_passing:
        # Nothing was tried, and legacy answers. What made the breaker open, is counted:
        # all that it refuses afterwards is one finding, and not hundreds of samples.
        return
    if done.was_refused and _failed.get(route.name) != decision.version:
        # The breaker opened before somebody changed the flags. Whoever has mended the
        # service and let it in again, would see it thrown out for what was before.
        return
    ok = done.end is End.ANSWERED
    if not ok:
        _failed[route.name] = decision.version
    evidence.note(route.source, side=Side.MODERN.value, ok=ok, seconds=seconds)


def _forged(request: HttpRequest) -> HttpResponseBase | None:
    try:
        return csrf.refused(request)
    except RequestDataTooBig as error:
        return problem(413, "Content Too Large", str(error))


def _decided(request: HttpRequest, route: Route) -> Decision:
    try:
        return decide(request, route)
    except StranglerError as error:
        # A subject= that returns something else: legacy serves, as it did before.
        trouble.warning(
            ("decision", route.name), "Route %s: %s Legacy serves.", route.name, error
        )
        return Decision(Side.LEGACY)


def _sided(response: HttpResponseBase, side: Side) -> HttpResponseBase:
    response[SIDE] = side.value
    return response


def _count(route: Route, side: Side, end: End, seconds: float) -> None:
    requests.add(route.name, side.value, end.value)
    seconds_taken.observe(route.name, side.value, seconds)
