"""Health over HTTP: whether this process answers, and whether events flow."""

from __future__ import annotations

import logging

from django.db import Error, router, transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from django_strangler import conf
from django_strangler.outbox.models import OutboxEvent
from django_strangler.outbox.troubles import Trouble

from .state import Verdict, recent, verdict

logger = logging.getLogger("django_strangler.monitoring")

LOOK_EVERY = 1.0  # Seconds: whoever asks more often gets the same answer.

_trouble = Trouble(logger, over="The database answers health again")


@never_cache
@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """This process answers. Asks nobody else, so nobody else can make it fail."""
    return JsonResponse({"status": "ok"})


@transaction.non_atomic_requests
@never_cache
@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """Whether events flow: 200 or 503. Why not is for staff who may see events."""
    found = _look()
    answer: dict[str, object] = {"status": "ok" if found.ready else "unhealthy"}
    if _may_see_details(request):
        answer |= {"sentence": found.sentence, "reasons": found.reasons}
    return JsonResponse(answer, status=200 if found.ready else 503)


def _look() -> Verdict:
    try:
        state = recent(router.db_for_write(OutboxEvent), seconds=LOOK_EVERY)
    except Error as error:
        _trouble.comes(f"The database does not answer health: {error}")
        sentence = "The database does not answer; the log says why."
        return Verdict(ready=False, sentence=sentence, reasons=(sentence,))
    _trouble.is_away()
    return verdict(state, conf.current())


def _may_see_details(request: HttpRequest) -> bool:
    try:
        user = getattr(request, "user", None)
        return bool(
            user and user.is_staff and user.has_perm("strangler.view_outboxevent")
        )
    except Error:
        return False  # The database is away, and with it who they are.
