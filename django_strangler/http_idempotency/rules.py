"""The options of an idempotent view, checked where they are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from django.apps import apps
from django.db import router
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from .conf import settings
from .exceptions import InvalidIdempotentView, MissingScope

if TYPE_CHECKING:
    from .models import AbstractIdempotentRequest

Scope: TypeAlias = "Callable[[HttpRequest], object] | str | None"

# Refusals before the work has begun: the same request may succeed later.
PASSING = frozenset({401, 403, 408, 409, 423, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What ``@idempotent`` was told."""

    required: bool = True
    scope: Scope = None  # Whose key it is; the user's, unless said otherwise.
    mode: Literal["transaction", "steps"] = "transaction"
    wait: float | None = None
    retention: float | timedelta | None = None
    max_body: int | None = None
    final: Callable[[HttpResponseBase], bool] | None = None
    fingerprint: Callable[[HttpRequest], bytes | str] | None = None
    using: str | None = None
    model: str | None = None  # Of the keys, where they are to move with other tables.
    lease: float | None = None  # Mode "steps" only.
    resume: bool = False  # Mode "steps" only: every call out carries a downstream key.

    def __post_init__(self) -> None:
        if self.mode not in ("transaction", "steps"):
            raise InvalidIdempotentView(
                f'mode is {self.mode!r}. Use "transaction", or "steps" for a view that '
                "calls a service on its way."
            )
        if self.scope is not None and not (self.scope and _is_scope(self.scope)):
            raise InvalidIdempotentView(
                f"scope is {self.scope!r:.80}. Give a function of the request that "
                "returns whose keys these are, or a text."
            )
        for name in ("final", "fingerprint"):
            if (value := getattr(self, name)) is not None and not callable(value):
                raise InvalidIdempotentView(f"{name} is {value!r:.80}, not a function.")
        for name in ("wait", "lease", "retention", "max_body"):
            value = getattr(self, name)
            if value is not None and _seconds(value) < (0 if name == "wait" else 1):
                raise InvalidIdempotentView(f"{name} is {value!r:.80}, too little.")
        if self.model is not None and (self.using or self.mode == "steps"):
            raise InvalidIdempotentView(
                'model goes neither with using nor with mode="steps": its keys are in '
                "the database to which the router sends the model, in one transaction "
                "with what the view writes there."
            )
        if self.mode == "transaction" and (self.resume or self.lease is not None):
            raise InvalidIdempotentView(
                'lease and resume are options of mode="steps": in mode "transaction" '
                "a process that dies leaves nothing behind."
            )

    def scope_of(self, request: HttpRequest) -> str:
        """Whose key it is. Never a credential: a new token would be a new client."""
        if isinstance(self.scope, str):
            return self.scope
        if self.scope is not None:
            found = self.scope(request)
            if found in (None, ""):
                raise MissingScope(
                    "The scope function of an idempotent view returned nothing. Return "
                    "whose keys these are, or refuse such a request before."
                )
            return f"{found}"
        user: Any = getattr(request, "user", None)
        if user is None or not user.is_authenticated:
            raise MissingScope(
                "An idempotent view was called and nobody is logged in. Put "
                "@idempotent below what demands a login, or pass scope=: a function "
                "of the request that returns whose keys these are."
            )
        return f"user:{user.pk}"

    def keeps(self, response: HttpResponseBase) -> bool:
        """Whether this is the key's answer from now on."""
        if self.final is not None:
            return self.final(response)
        status = response.status_code
        return status < 500 and status not in PASSING

    def alias(self) -> str:
        """The database of the keys, which is where effects happen once."""
        return self.using or str(router.db_for_write(self.kept_in()))

    def kept_in(self) -> type[AbstractIdempotentRequest]:
        """The model of the keys."""
        from .models import AbstractIdempotentRequest, IdempotentRequest

        if self.model is None:
            return IdempotentRequest
        found = apps.get_model(self.model)
        if not issubclass(found, AbstractIdempotentRequest):
            raise InvalidIdempotentView(
                f"model is {self.model!r}, which does not extend "
                "AbstractIdempotentRequest of django_strangler.http_idempotency.models."
            )
        return found

    def seconds(self, name: Literal["wait", "lease", "retention"]) -> float:
        """The option, or the setting of its name."""
        value = getattr(self, name)
        return float(getattr(settings(), name)) if value is None else _seconds(value)

    def longest_body(self) -> int:
        """How long a body is kept, in bytes."""
        return settings().max_body if self.max_body is None else self.max_body


def make(options: dict[str, Any]) -> Rules:
    """The rules of these options; name the one that is unknown."""
    known = [field.name for field in fields(Rules)]
    for name in options:
        if name not in known:
            raise InvalidIdempotentView(
                f"@idempotent has no option {name!r}. It has: {', '.join(known)}."
            )
    return Rules(**options)


def _is_scope(scope: object) -> bool:
    return isinstance(scope, str) or callable(scope)


def _seconds(value: object) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidIdempotentView(
            f"{value!r:.80} is neither a number nor a timedelta."
        )
    return float(value)
