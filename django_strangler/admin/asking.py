"""Every action in the admin asks first: one page, one button, one way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import reverse


def ask(
    site: admin.AdminSite,
    request: HttpRequest,
    *,
    question: str,
    facts: Sequence[str],
    yes: str,
    back: str,
    hidden: Mapping[str, str] | None = None,
    asks_why: bool = False,
    is_harmful: bool = True,  # Something is lost, or users notice it.
) -> TemplateResponse:
    """The page whose button posts to where it came from."""
    context = {
        **site.each_context(request),
        "title": question,
        "facts": facts,
        "yes": yes,
        "back": back,
        "hidden": hidden or {},
        "asks_why": asks_why,
        "is_harmful": is_harmful,
    }
    request.current_app = site.name
    return TemplateResponse(request, "admin/strangler/ask.html", context)


def url(site: admin.AdminSite, name: str, *args: Any) -> str:
    """A page of the admin site that is in use, which need not be Django's own."""
    return reverse(f"admin:{name}", args=args, current_app=site.name)


def dashboard(site: admin.AdminSite) -> str:
    """The app's page."""
    return url(site, "app_list", "strangler")
