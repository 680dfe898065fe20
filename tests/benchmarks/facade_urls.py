"""The monolith of the benchmark: django-revproxy beside the facade."""

from __future__ import annotations

import os

from django.http import HttpRequest, HttpResponse
from django.urls import path

urlpatterns = [path("nothing/", lambda request: HttpResponse(b"x" * 1000))]
if os.environ.get("BENCH_URL"):
    from revproxy.views import ProxyView

    view = ProxyView.as_view(upstream=os.environ["BENCH_URL"])
    urlpatterns.append(path("revproxy/<path:path>", view))


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse("up")


urlpatterns.append(path("plain/", plain))
