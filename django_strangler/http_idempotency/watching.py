"""What doctor, board and page say about keys whose outcome nobody knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.db import router
from django.db.models import Count
from django.http import HttpRequest
from django.urls import get_resolver

from django_strangler.findings import Finding, Level
from django_strangler.monitoring.board import Shown, domain_of_module
from django_strangler.monitoring.panels import Panel

from .models import (
    AbstractIdempotentRequest,
    IdempotentRequest,
    IdempotentRequestQuerySet,
)
from .views import views

SHOWN = 10


def find() -> Iterator[Finding]:
    """Trouble while there is a request that a person has to look at."""
    oldest = _unknown(SHOWN)
    if not oldest:
        yield Finding(Level.FINE, "No request with a key has an unknown outcome.")
        return
    number = len(oldest)
    first = oldest[0]
    yield Finding(
        Level.TROUBLE,
        f"Requests with an idempotency key that ended half-way: {number}"
        f"{' or more' if number == SHOWN else ''}; "
        f"the oldest is {first} to {first.route}, from "
        f"{first.created_at:%Y-%m-%d %H:%M}.",
        "Open Idempotency keys in the admin, see what the services that the view calls "
        "have done, and decide whether the client may try again.",
    )


def _oldest(request: HttpRequest) -> Mapping[str, Any]:
    return {"unknown": _unknown(SHOWN)}


def _unknown(most: int) -> list[AbstractIdempotentRequest]:
    return list(_rows().order_by("locked_until")[:most])


def _rows() -> IdempotentRequestQuerySet:
    alias = router.db_for_write(IdempotentRequest)
    return IdempotentRequest.objects.using(alias).unknown()


def shown() -> Iterator[Shown]:
    """For the board: requests of unknown outcome by view, in one query. They hold."""
    counted = _rows().order_by("route").values_list("route").annotate(Count("id"))
    if not (found := list(counted)):
        return
    modules = {
        route: view.__module__ for route, view in views(get_resolver().url_patterns)
    }
    for route, number in found:
        yield Shown(
            domain=domain_of_module(modules.get(route, "")),
            name=route,
            hold=(
                f"Requests with an idempotency key to {route} whose outcome is "
                f"unknown: {number}. Open Idempotency keys in the admin and decide.",
            ),
        )


PANEL = Panel(
    name="http_idempotency",
    title="Idempotency keys",
    permission="strangler_http_idempotency.view_idempotentrequest",
    data=_oldest,
    template="admin/strangler_http_idempotency/panel.html",
)
