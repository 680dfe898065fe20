"""``IdempotentMixin``, for class-based views and those of Django REST framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from django.http.response import HttpResponseBase

from . import rest
from .decorators import refuse_async
from .keys import METHODS
from .rules import Rules, make
from .running import run


class IdempotentMixin:
    """
    Let the view's POST and PATCH take effect once per ``Idempotency-Key``.

    It stands before the view's class, and behind mixins that demand a login. In a view
    of REST framework the key is claimed after authentication, permissions, throttles.
    """

    idempotency: ClassVar[Mapping[str, Any]] = {}  # Options, as of ``@idempotent``.
    idempotency_rules: ClassVar[Rules] = Rules()
    _finished: HttpResponseBase | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the options where they are written."""
        super().__init_subclass__(**kwargs)
        cls.idempotency_rules = make(dict(cls.idempotency))
        for method in METHODS:
            refuse_async(getattr(cls, method.lower(), None))

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Claim the key, unless ``initial()`` of REST framework does so later."""
        dispatch: Callable[..., Any] = super().dispatch  # type: ignore[misc]
        if hasattr(super(), "initial"):
            return dispatch(request, *args, **kwargs)
        return run(
            self.idempotency_rules,
            request,
            lambda: dispatch(request, *args, **kwargs),
        )

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
        """After all that may refuse the request: let the handler run once per key."""
        super().initial(request, *args, **kwargs)  # type: ignore[misc]
        name = str(request.method).lower()
        handler = getattr(self, name, None)
        if handler is None:
            return

        def once(request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
            def call() -> HttpResponseBase:
                # Rendered in the transaction, with what the framework adds.
                response = handler(request, *args, **kwargs)
                self._finished = self.finalize_response(request, response)
                return self._finished

            return run(self.idempotency_rules, rest.plain(request), call)

        setattr(self, name, once)

    def finalize_response(
        self, request: Any, response: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Once for each response."""
        if response is self._finished:
            return response
        return super().finalize_response(  # type: ignore[misc]
            request, response, *args, **kwargs
        )
