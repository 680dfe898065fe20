"""
The data path "proxy": Django carries the bytes, and falls back where that is right.

A request reaches at most one side's handler (G10), unless doing it twice is as good as
once: it is safe, or carries an idempotency key that both sides honour.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from django_strangler.services import (
    CircuitOpen,
    DeadlineExceeded,
    ServiceError,
    service,
)
from django_strangler.services.client import Exchange, Service
from django_strangler.services.retries import SAFE_METHODS
from django_strangler.services.transport import Upload

from .conf import settings
from .deciding import Decision
from .headers import outgoing
from .replies import problem, respond
from .routes import Route
from .uploads import Unreadable, body_of

FAILED = frozenset({500, 502, 503, 504})


class End(enum.Enum):
    """What became of a request that was meant for the modern side."""

    ANSWERED = "answered"
    FAILED = "failed"  # Its own 5xx, or ours for a request that was not sent twice.
    UNKNOWN = "unknown"  # Not safe, sent, and nobody knows whether it was done.
    CLIENT_LEFT = "client-left"
    FALLBACK = "fallback"  # Legacy may answer: nothing can have been done twice.
    UNREADABLE = "unreadable"  # Not sent: its body was read before.


@dataclass(frozen=True, slots=True)
class Forwarded:
    """How it ended, and the response; none where legacy is to answer."""

    end: End
    response: HttpResponseBase | None = None
    was_refused: bool = False  # By an open breaker: nothing was tried.
    is_passing: bool = False  # Legacy answers while the service is away for a moment.


def forward(request: HttpRequest, route: Route, decision: Decision) -> Forwarded:
    """Send the request to the route's service."""
    modern = service(route.service)
    try:
        body = body_of(request)
    except Unreadable:
        return Forwarded(End.UNREADABLE)
    may_repeat = is_repeatable(request, route) and not isinstance(body, Upload)
    try:
        exchange = _open(modern, request, route, decision, body)
        if exchange.status in FAILED and may_repeat and route.fallback:
            exchange.close()
            return Forwarded(End.FALLBACK)
        response = respond(
            request, route, exchange, modern.url, modern.settings.stream_timeout
        )
    except ServiceError as error:
        if isinstance(body, Upload) and body.is_broken:
            text = "The request ended before its body was complete."
            return Forwarded(End.CLIENT_LEFT, problem(400, "Bad Request", text))
        if route.fallback and (may_repeat or not error.reached):
            return Forwarded(
                End.FALLBACK,
                was_refused=type(error) is CircuitOpen,
                is_passing=isinstance(error, CircuitOpen) and not error.is_lasting,
            )
        return _without_answer(request, error)
    failed = exchange.status >= 500
    return Forwarded(End.FAILED if failed else End.ANSWERED, response)


def is_repeatable(request: HttpRequest, route: Route) -> bool:
    """Whether both sides may see it: by its method, or by a key that both honour."""
    if request.method in SAFE_METHODS:
        return True
    return route.idempotent and bool(request.META.get("HTTP_IDEMPOTENCY_KEY"))


def _open(
    modern: Service,
    request: HttpRequest,
    route: Route,
    decision: Decision,
    body: bytes | Upload | None,
) -> Exchange:
    method = request.method or "GET"
    sent = outgoing(request, route, settings().private_headers)
    sent.update(modern.identity(request, method, decision.target))
    if isinstance(body, Upload):
        if body.length is not None:
            sent["content-length"] = str(body.length)
    elif body is None and method not in SAFE_METHODS:
        sent["content-length"] = "0"
    return modern.open(method, decision.target, sent, body)


def _without_answer(request: HttpRequest, error: ServiceError) -> Forwarded:
    if not error.reached:
        response = problem(
            503,
            "Service Unavailable",
            "The service cannot be reached. The request was not carried out.",
        )
        if isinstance(error, CircuitOpen):
            response["Retry-After"] = str(max(1, round(error.retry_after)))
        return Forwarded(End.FAILED, response, type(error) is CircuitOpen)
    is_late = isinstance(error, DeadlineExceeded)
    status, title = (504, "Gateway Timeout") if is_late else (502, "Bad Gateway")
    if request.method in SAFE_METHODS:
        text = "The service gave no answer. It is safe to try again."
        return Forwarded(End.FAILED, problem(status, title, text))
    text = (
        "The service gave no answer, so it is not known whether the request was "
        "carried out. Look before you send it again."
    )
    return Forwarded(End.UNKNOWN, problem(status, title, text))
