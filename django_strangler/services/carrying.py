"""
What a request carried goes on with the calls that it makes.

The headers are those of events, in the spelling of HTTP: hyphens only, as ``X_A`` and
``X-A`` are one to WSGI, and percent signs for what is not ASCII.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, unquote

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from django_strangler import context

from .conf import everywhere, is_trusted

_AS_IT_IS = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


def names() -> dict[str, str]:
    """The headers of HTTP, by those of events."""
    return {
        (name := context.PREFIX + each.name): name.replace("_", "-").lower()
        for each in context.carried()
    }


def sent() -> dict[str, str]:
    """The headers for a call that is made now."""
    found = context.capture()
    if not found:
        return found
    known = names()
    return {known[name]: quote(text, _AS_IT_IS) for name, text in found.items()}


class ContextMiddleware:
    """
    Puts in force what the caller's request carried; put it after LocaleMiddleware.

    Only ``TRUSTED_PROXIES`` are believed: a stranger could name any tenant.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not is_trusted(
            request.META.get("REMOTE_ADDR", ""), everywhere().trusted_proxies
        ):
            return self.get_response(request)
        found = {
            name: unquote(text)
            for name, header in names().items()
            if (text := request.headers.get(header)) is not None
        }
        with context.restored(found):
            return self.get_response(request)
