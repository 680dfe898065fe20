"""One view, which writes down what it has done before it answers."""

from __future__ import annotations

import os

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path

log = os.open(settings.DONE_LOG, os.O_APPEND | os.O_CREAT | os.O_WRONLY)


def do(request: HttpRequest, number: str) -> HttpResponse:
    os.write(log, f"legacy {request.method} {number}\n".encode())
    return HttpResponse("legacy")


urlpatterns = [
    path("api/payments/<str:number>", do),
    path("plain/", lambda request: HttpResponse("up")),
]
