"""
Which headers go through, in both directions.

A client's word about who it is never does: our own headers are dropped whatever their
spelling, and set anew. WSGI has one name for ``X-A`` and ``X_A``, so what is read from
it is written with hyphens only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from django.http import HttpRequest

if TYPE_CHECKING:
    from .routes import Route

# RFC 9110, 7.6.1, and what old software writes.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
OURS = "strangler-"
# Set anew, or none of a service's business.
_SET_ANEW = frozenset(
    {
        "content-length",
        "expect",
        "forwarded",
        "host",
        "traceparent",
        "tracestate",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-proto",
    }
)
# A server of WSGI or ASGI writes its own.
_NOT_BACK = HOP_BY_HOP | {"date", "server", "content-length"}


def named_by_connection(value: str) -> frozenset[str]:
    """The headers that ``Connection`` says are for the next hop only."""
    return frozenset(each.strip().lower() for each in value.split(",") if each.strip())


@lru_cache(maxsize=100)
def _kept_back(private: tuple[str, ...], forward: frozenset[str]) -> frozenset[str]:
    return HOP_BY_HOP | _SET_ANEW | (frozenset(private) - forward)


def outgoing(
    request: HttpRequest, route: Route, private: tuple[str, ...]
) -> dict[str, str]:
    """The headers of a client's request that the service gets, and ours."""
    meta = request.META
    left_out = _kept_back(private, route.forward)
    if named := meta.get("HTTP_CONNECTION"):
        left_out |= named_by_connection(named)
    found = {}
    for key, value in meta.items():
        if not key.startswith("HTTP_"):
            continue
        name = key[5:].replace("_", "-").lower()
        if name not in left_out and not name.startswith((OURS, "x-accel-")):
            found[name] = value
    if meta.get("CONTENT_TYPE"):
        found["content-type"] = meta["CONTENT_TYPE"]
    address = meta.get("REMOTE_ADDR", "")
    before = meta.get("HTTP_X_FORWARDED_FOR", "")
    found["x-forwarded-for"] = ", ".join(each for each in (before, address) if each)
    found["x-forwarded-host"] = request.get_host()
    found["x-forwarded-proto"] = request.scheme or "http"
    return found


def returned(
    headers: Iterable[tuple[str, str]], connection: str, keep_out: frozenset[str]
) -> Iterator[tuple[str, str]]:
    """
    The headers of a service's answer that the client gets.

    ``keep_out`` names cookies that are the monolith's own.
    """
    left_out = _NOT_BACK
    if connection:
        left_out |= named_by_connection(connection)
    for name, value in headers:
        lower = name.lower()
        if lower in left_out or lower.startswith((OURS, "x-accel-")):
            continue
        if lower == "set-cookie" and value.partition("=")[0].strip() in keep_out:
            continue
        yield name, value


def location(value: str, base: str, route: Route, public: str) -> str:
    """A redirect to the service's own address, as one to ours."""
    if value == base or value.startswith(f"{base}/"):
        value = value[len(base) :] or "/"
        if isinstance(route.rewrite, str) and value.startswith(route.rewrite):
            value = route.raw_prefix + value[len(route.rewrite) :]
        return f"{public}{value}"
    if (
        isinstance(route.rewrite, str)
        and value.startswith("/")
        and not value.startswith("//")
        and value.startswith(route.rewrite)
    ):
        return route.raw_prefix + value[len(route.rewrite) :]
    return value
