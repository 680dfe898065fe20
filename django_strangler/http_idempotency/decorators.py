"""``@idempotent``, for function views."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, overload

from . import rest
from .exceptions import InvalidIdempotentView
from .rules import make
from .running import run

V = TypeVar("V", bound=Callable[..., Any])


@overload
def idempotent(view: V) -> V: ...


@overload
def idempotent(**options: Any) -> Callable[[V], V]: ...


def idempotent(view: Any = None, **options: Any) -> Any:
    """
    Let a view take effect once per ``Idempotency-Key``, and answer alike each time.

    The view runs in a transaction with its key: what it writes, the events that it
    publishes and its answer are committed together, or none of them. It belongs below
    what authenticates, and below ``@api_view``.
    """
    rules = make(options)

    def decorate(view: Any) -> Any:
        refuse_async(view)

        @functools.wraps(view)
        def wrapper(request: Any, *args: Any, **kwargs: Any) -> Any:
            def call() -> Any:
                return rest.finalized(request, view(request, *args, **kwargs))

            return run(rules, rest.plain(request), call)

        wrapper.idempotency = rules  # type: ignore[attr-defined]  # For the checks.
        return wrapper

    return decorate if view is None else decorate(view)


def refuse_async(view: Any) -> None:
    """Django has no transactions in async code."""
    if inspect.iscoroutinefunction(view):
        raise InvalidIdempotentView(
            f"{getattr(view, '__qualname__', view)!r} is async, and Django has no "
            "transactions in async code. Write it as a plain function: under ASGI "
            "Django runs it in a thread."
        )
