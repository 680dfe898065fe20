"""
The monolith's protection against forged requests, for those that a service answers.

Django checks them just before a view. A routed request never gets there, while its
session still says who the user is: so the check is made here, unless the monolith's own
view for that path is exempt.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.conf import settings
from django.http import HttpRequest, QueryDict
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.urls import Resolver404, resolve
from django.utils.datastructures import MultiValueDict

from django_strangler.services.retries import SAFE_METHODS

from .uploads import keep_if_form

_MIDDLEWARE = "django.middleware.csrf.CsrfViewMiddleware"


def refused(request: HttpRequest) -> HttpResponseBase | None:
    """Django's own answer to a forged request; None if it is none."""
    if request.method in SAFE_METHODS or _MIDDLEWARE not in settings.MIDDLEWARE:
        return None
    view: Any = _protected
    with suppress(Resolver404):  # Only the service knows it: protected, as by default.
        view = resolve(request.path_info).func
    if getattr(view, "csrf_exempt", False):
        return None
    if request.META.get(settings.CSRF_HEADER_NAME):
        return _check_by_header(request, view)
    keep_if_form(request)
    return _check(request, view)


def _check(request: HttpRequest, view: Any) -> HttpResponseBase | None:
    middleware = CsrfViewMiddleware(lambda request: None)  # type: ignore[arg-type]
    middleware.process_request(request)
    return middleware.process_view(request, view, (), {})


def _check_by_header(request: HttpRequest, view: Any) -> HttpResponseBase | None:
    # The check looks into the form first, which would use up an upload.
    given: Any = request
    if hasattr(request, "_post"):
        return _check(request, view)
    given._post, given._files = QueryDict(), MultiValueDict()
    try:
        return _check(request, view)
    finally:
        del given._post, given._files


def _protected(request: HttpRequest) -> None:
    """Stands for a view that the monolith does not have."""
