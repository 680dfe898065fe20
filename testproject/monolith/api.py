"""What the JSON views of all apps share."""

import json
from typing import TypeVar

from django import forms
from django.http import HttpRequest, JsonResponse

from django_strangler.http_idempotency import idempotent

F = TypeVar("F", bound=forms.Form)


def read_form(form_class: type[F], request: HttpRequest) -> F:
    """Fill a form from a JSON body."""
    try:
        data = json.loads(request.body)
    except (RecursionError, ValueError):  # Nested too deep, or no JSON at all.
        data = None
    form = form_class(data if isinstance(data, dict) else {})
    if not isinstance(data, dict):
        form.add_error(None, "The body must be a JSON object.")
    return form


def refuse(form: forms.Form) -> JsonResponse:
    return JsonResponse({"errors": form.errors}, status=400)


def conflict(message: str) -> JsonResponse:
    return JsonResponse({"errors": {"__all__": [message]}}, status=409)


def caller(request: HttpRequest) -> str:
    """Whose idempotency keys these are."""
    # These views stand in an inner network, and most of their callers do not log in.
    user = request.user
    return f"user:{user.pk}" if user.is_authenticated else "api"


# A request that changes something may bring a key: then it does so once.
once = idempotent(required=False, scope=caller)
