"""What the app's page in the admin shows, by whatever admin site it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import django
from django import template
from django.template.context import Context
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from django_strangler.feature_flags import wording
from django_strangler.feature_flags.models import Flag, FlagChange
from django_strangler.monitoring import (
    board,  # noqa: F401  (brings its panel)
    dashboard,
    panels,
)
from django_strangler.monitoring.flow import span
from django_strangler.outbox.models import OutboxEvent

register = template.Library()
register.filter("span", span)
register.filter("rollout", wording.shown)


@register.filter
def what(change: FlagChange) -> str:
    """What a change of a flag did."""
    return wording.change(change.before, change.after)


@register.filter
def moment(value: datetime | None) -> str:
    """A moment in the project's time zone, to the millisecond."""
    if value is None:
        return ""
    local = timezone.localtime(value) if timezone.is_aware(value) else value
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03}"


@register.simple_tag(takes_context=True)
def breadcrumbs(context: Context, title: str) -> SafeString:
    """The way to a page of ours, in the markup of this Django's admin."""
    site = context["request"].current_app
    links = [
        (reverse("admin:index", current_app=site), _("Home")),
        (reverse("admin:app_list", args=["strangler"], current_app=site), "Strangler"),
    ]
    if django.VERSION >= (6, 1):
        # Blanks between them, as in a template: what is shown needs them.
        items = format_html_join("", '<li><a href="{}">{}</a></li>\n', links)
        last = format_html('<li aria-current="page"><bdi>{}</bdi></li>', title)
        return format_html('<ol class="breadcrumbs">{}{}</ol>', items, last)
    items = format_html_join("", '<a href="{}">{}</a> &rsaquo; ', links)
    return format_html('<div class="breadcrumbs">{}<bdi>{}</bdi></div>', items, title)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The parts that this user may see; None: may not."""

    events: dashboard.Events | None
    flags: list[Flag] | None
    changes: list[FlagChange] | None
    may_switch_off: bool
    may_switch_on: bool
    panels: list[panels.Filled]  # Of the apps.


@register.simple_tag(takes_context=True, name="dashboard")
def page(context: Context) -> Page:
    """The data of the page. Nothing is read that is not shown."""
    # The admin lists what is registered and may be seen, so nothing is asked twice.
    seen = {
        model["model"]
        for app in context["app_list"]
        for model in app["models"]
        if model["perms"].get("view")
    }
    user = context["request"].user
    return Page(
        events=dashboard.events() if OutboxEvent in seen else None,
        flags=dashboard.flags() if Flag in seen else None,
        changes=dashboard.changes() if FlagChange in seen else None,
        may_switch_off=user.has_perm("strangler.switch_off_flag")
        or user.has_perm("strangler.change_flag"),
        may_switch_on=user.has_perm("strangler.change_flag"),
        panels=list(panels.shown(context["request"])),
    )
