"""Every action in the admin asks first: one page, one button, one way back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, Protocol

from django.contrib import admin
from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.dateparse import parse_datetime


class Named(Protocol):
    """A verb, as far as its page is concerned."""

    @property
    def name(self) -> str:
        """The last part of its address."""


def pages(
    of: admin.ModelAdmin[Any],
    verbs: Iterable[Named],
    view: Callable[..., Any],
    *,
    at: str = "",
) -> list[URLPattern]:
    """One page per verb, which the view is told."""
    model = f"{of.opts.app_label}_{of.opts.model_name}"
    return [
        path(
            f"{at}{verb.name}/",
            of.admin_site.admin_view(partial(view, verb=verb)),
            name=f"{model}_{verb.name}",
        )
        for verb in verbs
    ]


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


def until(request: HttpRequest) -> datetime:
    """Up to when a person was asked about what there was, as the page hides it."""
    with suppress(OverflowError, ValueError):
        if moment := parse_datetime(request.POST.get("until", "")):
            moment.astimezone(timezone.utc)  # Which a forged one may not have.
            # SQLite compares text: a whole second is shorter as Django writes it, and
            # so less.
            return moment + timedelta(milliseconds=1)
    raise BadRequest("until is not a time.")


def url(site: admin.AdminSite, name: str, *args: Any) -> str:
    """A page of the admin site that is in use, which need not be Django's own."""
    return reverse(f"admin:{name}", args=args, current_app=site.name)


def dashboard(site: admin.AdminSite) -> str:
    """The app's page."""
    return url(site, "app_list", "strangler")
