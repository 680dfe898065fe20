"""A page that publishes and asks, with the toolbar beside it."""

from __future__ import annotations

from debug_toolbar.toolbar import debug_toolbar_urls
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path

from django_strangler import feature_flags, publish_event


def pay(request: HttpRequest) -> HttpResponse:
    """As many events as are asked for."""
    with transaction.atomic():
        for number in range(int(request.GET.get("events", 1))):
            publish_event("payment.completed", {"card": "4242"}, key=f"<b>{number}")
    for _ in range(2):
        feature_flags.is_enabled("ledger-v2", "7")
    return HttpResponse("<html><body>Paid.</body></html>")


urlpatterns = [path("pay/", pay), *debug_toolbar_urls()]
