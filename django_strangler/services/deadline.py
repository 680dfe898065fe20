"""
A deadline: how long the work of one request may take, all its calls included.

It is passed on as what is left (``Strangler-Deadline-Ms``), never as a time of day, so
the clocks of two hosts need not agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

from django.http import HttpRequest
from django.http.response import HttpResponseBase

HEADER = "Strangler-Deadline-Ms"
LEAST = 0.05  # With less than this left, a call is not begun.
MARGIN = 0.05  # What the caller keeps, to answer before its own client gives up.

_until: ContextVar[float | None] = ContextVar("strangler_deadline", default=None)


def left() -> float | None:
    """The seconds that are left of the current deadline; None if there is none."""
    until = _until.get()
    return None if until is None else until - monotonic()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Calls made inside end after so many seconds, or at an outer deadline."""
    until, outer = monotonic() + seconds, _until.get()
    token = _until.set(until if outer is None else min(until, outer))
    try:
        yield
    finally:
        _until.reset(token)


def parse(text: str | None) -> float | None:
    """The seconds in a header; None for none, and for what is not a number."""
    if text is None or not (text.isascii() and text.isdecimal()) or len(text) > 9:
        return None
    return int(text) / 1000


class DeadlineMiddleware:
    """
    Gives each request ``REQUEST_BUDGET``, or what its caller has left if that is less.

    Only ``TRUSTED_PROXIES`` are believed: a stranger's deadline of a millisecond would
    look like a service that never answers in time.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        from .conf import everywhere, is_trusted

        general = everywhere()
        budget = general.request_budget
        given = parse(request.META.get("HTTP_STRANGLER_DEADLINE_MS"))
        if given is not None and is_trusted(
            request.META.get("REMOTE_ADDR", ""), general.trusted_proxies
        ):
            budget = given if budget is None else min(given, budget)
        if budget is None:
            return self.get_response(request)
        with within(budget):
            return self.get_response(request)
