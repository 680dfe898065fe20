"""Views that take effect, and requests to them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import RequestFactory

from django_strangler import publish_event
from django_strangler.models import OutboxEvent


def user(number: int) -> Any:
    return SimpleNamespace(pk=number, is_authenticated=True)


NOBODY = SimpleNamespace(pk=None, is_authenticated=False)


def post(
    path: str = "/pay/",
    body: Any = None,
    *,
    key: str | None = "key-1",
    as_user: Any = None,
    method: str = "POST",
    content_type: str = "application/json",
    **headers: str,
) -> HttpRequest:
    """A request, as middleware hands it to a view."""
    if key is not None:
        headers["Idempotency-Key"] = key
    data = {"amount": 1} if body is None else body
    if content_type == "application/json" and not isinstance(data, (bytes, str)):
        data = json.dumps(data)
    request = RequestFactory().generic(
        method, path, data, content_type=content_type, headers=headers
    )
    request.user = user(1) if as_user is None else as_user
    return request


def pay(request: HttpRequest) -> HttpResponse:
    """Takes effect once for each run, and never answers alike."""
    publish_event("payment.completed", {"run": str(uuid4())})
    response = JsonResponse({"payment": str(uuid4())}, status=201)
    response["Location"] = "/payments/1/"
    response["X-Request-Id"] = str(uuid4())
    response.set_cookie("seen", "1")
    return response


def effects(alias: str) -> int:
    return OutboxEvent.objects.using(alias).count()


def problem(response: Any) -> str:
    """The last word of the problem's type."""
    assert response["Content-Type"] == "application/problem+json"
    body = json.loads(response.content)
    assert body["status"] == response.status_code
    assert body["title"]
    assert body["detail"]
    return body["type"].rpartition(":")[2]
