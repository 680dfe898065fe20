"""Views behind a flag."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.http import Http404, HttpRequest

from .evaluation import is_enabled

View = Callable[..., Any]


def flag_required(
    name: str, *, otherwise: View | None = None
) -> Callable[[View], View]:
    """
    Serve a view to those for whom the flag is on, others get ``otherwise`` or a 404.

    The subject is ``request.user``. Both views are sync, or both are async.
    """

    def decorate(view: View) -> View:
        def serve(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            chosen = _chosen(view, otherwise, _is_on(name, request))
            return chosen(request, *args, **kwargs)

        async def aserve(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            # In a thread that may query, because request.user may have to be loaded.
            on = await sync_to_async(_is_on)(name, request)
            return await _chosen(view, otherwise, on)(request, *args, **kwargs)

        return wraps(view)(aserve if iscoroutinefunction(view) else serve)

    return decorate


def _is_on(name: str, request: HttpRequest) -> bool:
    return is_enabled(name, getattr(request, "user", None))


def _chosen(view: View, otherwise: View | None, on: bool) -> View:
    if on:
        return view
    if otherwise is None:
        raise Http404
    return otherwise
