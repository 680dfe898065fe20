"""The views of the project, as its URLs name them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.urls import URLPattern


def views(patterns: Sequence[Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Each view with its route, written as ``ResolverMatch.route`` has it."""
    for pattern in patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield route, pattern.callback
        else:
            yield from views(pattern.url_patterns, route)
