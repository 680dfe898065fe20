"""Health over HTTP: whether this process answers, and whether events flow."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from django.contrib.auth.decorators import login_not_required
from django.db import Error, connections, transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from django_strangler import conf
from django_strangler.announcing import CALM, Announcer
from django_strangler.outbox.models import outbox_alias

from .flow import Flow, Reason, flow, unhealthy
from .recent import recent

logger = logging.getLogger("django_strangler.monitoring")

_View: TypeAlias = Callable[[HttpRequest], JsonResponse]

LOOK_EVERY = 1.0  # Seconds; a question that comes sooner gets the same answer.

_trouble = Announcer(logger)


def _outside_transactions(view: _View) -> _View:
    """With ATOMIC_REQUESTS, Django would connect to each database before it calls."""
    for alias in connections:
        view = transaction.non_atomic_requests(alias)(view)
    return view


@login_not_required
@_outside_transactions
@never_cache
@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """This process answers. It asks no other, so no other can make it fail."""
    return JsonResponse({"status": "ok"})


@login_not_required
@_outside_transactions
@never_cache
@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """Whether events flow: 200 or 503. Why not is for staff who may see events."""
    found = _look()
    answer: dict[str, object] = {"status": "ok" if found.ready else "unhealthy"}
    if _may_see_details(request):
        reasons = [str(reason) for reason in found.reasons]
        answer |= {"sentence": found.sentence, "reasons": reasons}
    return JsonResponse(answer, status=200 if found.ready else 503)


def _look() -> Flow:
    try:
        state = recent(outbox_alias(), seconds=LOOK_EVERY)
    except Error as error:
        _trouble.once("database", "The database does not answer health: %s", error)
        return unhealthy(Reason("The database does not answer", "The log says why."))
    _trouble.over("database", "The database answers health again.", calm=CALM)
    return flow(state, conf.current())


def _may_see_details(request: HttpRequest) -> bool:
    try:
        user = getattr(request, "user", None)
        return bool(
            user and user.is_staff and user.has_perm("strangler.view_outboxevent")
        )
    except Error:
        return False  # The database is away, and with it who they are.
