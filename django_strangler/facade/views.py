"""The decision for nginx: which side, and for whom, before it carries the bytes."""

from __future__ import annotations

import logging
from urllib.parse import unquote

from django.http import HttpRequest, HttpResponse

from django_strangler.services import service

from .deciding import LEGACY, Side, decide
from .routes import routes

logger = logging.getLogger("django_strangler.facade")


def decide_view(request: HttpRequest, name: str) -> HttpResponse:
    """
    For ``auth_request``: 403 leads to the modern side, 204 lets legacy go on.

    Those are the statuses that nginx can branch by. Whatever goes wrong here is 204.
    """
    side, token = Side.LEGACY, {}
    route = routes.by_name.get(name)
    if route is not None:
        try:
            method = request.META.get("HTTP_STRANGLER_ORIGINAL_METHOD", "GET")
            raw, _, query = request.META.get(
                "HTTP_STRANGLER_ORIGINAL_URI", "/"
            ).partition("?")
            # A subject= may look at them.
            request.method, request.path_info = method, unquote(raw)
            request.META["QUERY_STRING"] = query
            decision = decide(request, route, raw)
            side = decision.side
            if side is Side.MODERN:
                modern = service(route.service)
                token = modern.identity(request, method, decision.target)
        except Exception:
            logger.exception("Route %s: no decision, so legacy serves.", name)
            side, token = LEGACY.side, {}
    response = HttpResponse(status=204)
    if side is Side.MODERN:
        response.status_code = 403
        response["Content-Length"] = "0"  # In chunks, it would cost nginx a connection.
    response["Strangler-Side"] = side.value
    for header, value in token.items():
        response[header] = value
    response["Cache-Control"] = "no-store"
    return response
