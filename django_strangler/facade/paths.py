"""The path as it came: WSGI hands it on without its escapes, so servers keep a copy."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

from django.http import HttpRequest

from .routes import SEGMENT

# What another server may read as "go up": also escaped, or with a backslash.
_DOTS = re.compile(
    r"(?:^|[/\\]|%2f|%5c)(?:\.|%2e){1,2}(?=[/\\;]|%2f|%5c|$)", re.IGNORECASE
)
_BAD = re.compile(r"[^\x21-\x7e]|%00|%0[ad]|\\", re.IGNORECASE)


def raw_path(request: HttpRequest) -> str:
    """The path of the request line, percent signs included, without its query."""
    scope = getattr(request, "scope", None)
    if scope is not None:
        given = (scope.get("raw_path") or b"").decode("latin-1")
    else:
        given = request.META.get("RAW_URI") or request.META.get("REQUEST_URI") or ""
        if "://" in given[:10]:  # "GET http://host/path", as a proxy may write it.
            given = "/" + given.split("/", 3)[-1]
    given = given.partition("?")[0].partition("#")[0]
    # A server may have changed the path since: then the copy is of another.
    if given.startswith("/") and unquote_to_bytes(given) == request.path.encode():
        return given
    return quote(request.path, safe=SEGMENT)


def is_odd(raw: str) -> bool:
    """Whether another server may read this path as one outside of the prefix."""
    return bool(_DOTS.search(raw) or _BAD.search(raw))


def is_odd_query(query: str) -> bool:
    """Whether a query cannot stand in a request line."""
    return bool(re.search(r"[^\x21-\x7e]", query))
