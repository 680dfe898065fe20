"""What the app's page in the admin shows, by whatever admin site it is shown."""

from __future__ import annotations

from dataclasses import dataclass

from django import template
from django.template.context import Context

from django_strangler.feature_flags import wording
from django_strangler.feature_flags.models import Flag, FlagChange
from django_strangler.monitoring import dashboard
from django_strangler.monitoring.verdict import span
from django_strangler.outbox.models import OutboxEvent

register = template.Library()
register.filter("span", span)
register.filter("rollout", wording.shown)


@register.filter
def what(change: FlagChange) -> str:
    """What a change of a flag did."""
    return wording.change(change.before, change.after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The parts that this user may see; None: may not."""

    events: dashboard.Events | None
    flags: list[Flag] | None
    changes: list[FlagChange] | None
    may_switch_off: bool


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
    )
