"""``path("", include("django_strangler.services.urls"))`` publishes the keys."""

from __future__ import annotations

from django.urls import path

from .identity import keys_view

app_name = "strangler_services"
urlpatterns = [path("strangler/keys.json", keys_view, name="keys")]
