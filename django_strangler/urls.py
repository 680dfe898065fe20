"""Health: ``path("strangler/", include("django_strangler.urls"))``."""

from __future__ import annotations

from django.urls import path

from django_strangler.monitoring import health

app_name = "strangler"
urlpatterns = [
    path("health/", health.ready, name="health"),
    path("health/live/", health.live, name="live"),
]
