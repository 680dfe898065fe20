"""Flags in words, for the admin and the command."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone

from django_strangler.exceptions import StranglerError

from . import ramps
from .models import Flag


def percent(value: Decimal) -> str:
    """``12.5 %``: no zeros that say nothing."""
    return f"{value.normalize():f} %"


def rollout(flag: Flag, now: datetime | None = None) -> str:
    """Whom a flag serves, as a sentence: ``12.5 % of users, and 3 named``."""
    now = now or ramps.now()
    share = flag.rollout(now)
    if share == 100:
        text = "Everybody"
    elif share == 0:
        text = "Nobody"
    else:
        text = f"{percent(share)} of users"
    if flag.included:
        text += f", and {len(flag.included)} named"
    if flag.excluded:
        text += f", without {len(flag.excluded)} named"
    if flag.ramp is not None:
        text += _next(ramps.from_json(flag.ramp), now)
    return text if flag.enabled else f"Off (when on: {text})"


def shown(flag: Flag) -> str:
    """Its rollout; or why a row that somebody wrote by hand cannot be used."""
    try:
        return rollout(flag)
    except StranglerError as error:
        # It must not take the page from all others.
        return f"Cannot be used: {error}"


def change(before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    """What a change did: ``percentage 1.00 → 5.00``."""
    if before is None or after is None:
        return "deleted" if after is None else f"created at {after['percentage']} %"
    return ", ".join(
        f"{field} {_short(before.get(field))} → {_short(value)}"
        for field, value in after.items()
        if before.get(field) != value
    )


def _next(ramp: ramps.Ramp, now: datetime) -> str:
    if ramp.held_at is not None:
        return "; the ramp is held"
    coming = [step for step in ramp.steps if step.at > now]
    if not coming:
        return ""
    at = timezone.localtime(coming[0].at)
    return f"; {percent(coming[0].percentage)} from {at:%Y-%m-%d %H:%M}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} ids"
    if isinstance(value, dict):
        steps = value.get("steps")  # Which somebody may have broken by hand.
        count = len(steps) if isinstance(steps, list) else "no"
        return "held" if value.get("held_at") else f"{count} steps"
    return {True: "on", False: "off", None: "none"}.get(value, str(value))
