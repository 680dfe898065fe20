"""``path("", include("django_strangler.facade.urls"))``: for nginx's mode auth."""

from __future__ import annotations

from django.urls import path

from .views import decide_view

app_name = "strangler_facade"
urlpatterns = [path("strangler/decide/<slug:name>/", decide_view, name="decide")]
