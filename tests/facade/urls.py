"""A monolith of a few views, some of which services may take."""

from __future__ import annotations

import time

from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt


@csrf_exempt
def echo(request: HttpRequest, rest: str = "") -> JsonResponse:
    """What the monolith itself answers."""
    response = JsonResponse(
        {
            "side": "legacy",
            "method": request.method,
            "path": request.path,
            "body": request.body.decode("latin-1")[:1000],
            "size": len(request.body),
        }
    )
    response["X-Legacy"] = "yes"
    return response


def protected(request: HttpRequest) -> HttpResponse:
    return HttpResponse("protected")


def broken(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


def writes_now_and_then(request: HttpRequest) -> HttpResponse:
    if request.GET.get("write"):
        get_user_model().objects.create(username="made by a GET")
    return HttpResponse("seen")


def slow(request: HttpRequest) -> HttpResponse:
    time.sleep(float(request.GET.get("seconds", "0.1")))
    return HttpResponse("slow")


def login_as(request: HttpRequest, user_id: int) -> HttpResponse:
    """For tests through real servers."""
    from django.contrib.auth import login

    login(request, get_user_model().objects.get(pk=user_id))
    return HttpResponse("welcome")


urlpatterns = [
    path("api/payments/protected/", protected),
    path("api/payments/broken/", broken),
    path("api/payments/", echo, name="payments"),
    path("api/payments/<path:rest>", echo, name="payment"),
    path("de/pay/<path:rest>", echo),
    path("by-name/<path:rest>", echo, name="by-name"),
    path("plain/", echo),
    path("slow/", slow),
    path("writes-now-and-then/", writes_now_and_then),
    path("login/<int:user_id>/", login_as),
    path("", include("django_strangler.facade.urls")),
    path("", include("django_strangler.services.urls")),
]
