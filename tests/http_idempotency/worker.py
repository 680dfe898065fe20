"""A web server with one idempotent view, to be killed: prints its port."""

from __future__ import annotations

import os
import sys
from typing import Any

import django
from django.conf import settings


def pay(request: Any) -> Any:
    from uuid import uuid4

    from django.http import JsonResponse

    from django_strangler import publish_event

    publish_event("payment.completed", {}, key=request.headers["Idempotency-Key"])
    return JsonResponse({"payment": str(uuid4())}, status=201)


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    atomic = os.environ["ATOMIC_REQUESTS"] == "1"
    settings.DATABASES["default"]["ATOMIC_REQUESTS"] = atomic
    settings.ROOT_URLCONF = __name__
    # Content-Length: a client notices an answer that a kill has torn.
    settings.MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
    settings.DEBUG = False
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    django.setup()
    from django.core.servers.basehttp import (
        ThreadedWSGIServer,
        WSGIRequestHandler,
        WSGIServer,
    )
    from django.core.wsgi import get_wsgi_application
    from django.urls import path

    from django_strangler.http_idempotency import idempotent

    urlpatterns.append(path("pay/", idempotent(scope="shop", wait=5)(pay)))
    kind = ThreadedWSGIServer if os.environ["THREADS"] == "1" else WSGIServer
    kind.request_queue_size = 200
    server = kind(("127.0.0.1", 0), WSGIRequestHandler)
    server.set_app(get_wsgi_application())
    print(server.server_port, flush=True)
    server.serve_forever()


urlpatterns: list[Any] = []

if __name__ == "__main__":
    sys.modules["tests.http_idempotency.worker"] = sys.modules["__main__"]
    main()
