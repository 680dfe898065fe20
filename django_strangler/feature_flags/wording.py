"""Flags in words, for the admin and the command."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone

from django_strangler.exceptions import StranglerError
from django_strangler.printable import how_many

from . import ramps
from .gates import Decision
from .models import Flag, Guard

_NAMED = 10  # Ids that a line of the history has room for.


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
    """Its rollout; or why a row that was written by hand cannot be used."""
    try:
        return rollout(flag)
    except StranglerError as error:
        # It must not take the page from all others.
        return f"Cannot be used: {error}"


def schedule(flag: Flag) -> str:
    """The ramp's steps, one after the other."""
    try:
        if flag.ramp is None:
            return "No ramp."
        ramp = ramps.from_json(flag.ramp)
    except StranglerError as error:
        return f"Cannot be used: {error}"
    steps = ", ".join(
        f"{percent(step.percentage)} at {timezone.localtime(step.at):%Y-%m-%d %H:%M}"
        for step in ramp.steps
    )
    return f"{'Held' if ramp.held_at else 'Follows'}: {steps}"


def reason(decision: Decision, flag: Flag) -> str:
    """Why the answer is as it is."""
    share = percent(flag.rollout())
    place = ""
    if decision.bucket is not None:
        place = f"{100 * decision.bucket / 2**32:.2f} %"
    return {
        "off": "The flag is switched off.",
        "excluded": "Excluded by name.",
        "included": "Included by name.",
        "everybody": "The rollout is 100 %.",
        "nobody": "The rollout is 0 %.",
        "percentage": f"The place is {place}, and the rollout is {share}.",
        "no-subject": "Nobody in particular is let in by a percentage.",
        "override": "A test says so.",
    }.get(decision.reason, "The flag cannot be read yet.")


def guard(found: Guard) -> str:
    """What a guard looks at and does."""
    # One that is None is not looked at.
    rule = {name: value for name, value in found.rule.items() if value is not None}
    limits = "".join(f", {name} {value}" for name, value in rule.items())
    return f"{found.action} on {', '.join(found.sources)}{limits}"


def change(before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    """What a change did: ``percentage 1.00 → 5.00``."""
    if after is None:
        return "deleted"
    if before is None:
        # A new one with a ramp begins at 0 %, and that says nothing.
        ramp = f" with a ramp of {_short(after['ramp'])}" if after.get("ramp") else ""
        return f"created at {after['percentage']} %{ramp}"
    return (
        ", ".join(
            _changed(field, before.get(field), value)
            for field, value in after.items()
            if before.get(field) != value
        )
        or "nothing about the flag itself"
    )


def _changed(field: str, before: Any, after: Any) -> str:
    if isinstance(before, list) and isinstance(after, list):
        # Who: a number of ids is no use in an audit.
        gone, come = _without(before, after), _without(after, before)
        signs = [f"+{_ids(come)}"] * bool(come) + [f"-{_ids(gone)}"] * bool(gone)
        return f"{field} {' '.join(signs)}"
    if field == "ramp" and isinstance(before, dict) and isinstance(after, dict):
        was, now = bool(before.get("held_at")), bool(after.get("held_at"))
        if was != now:
            return "ramp held" if now else "ramp resumed"
        return f"ramp changed to {_short(after)}"
    return f"{field} {_short(before)} → {_short(after)}"


def _without(these: list[Any], those: list[Any]) -> list[Any]:
    left_out = set(map(str, those))
    return [each for each in these if str(each) not in left_out]


def _ids(values: list[Any]) -> str:
    more = len(values) - _NAMED
    shown = ", ".join(str(each) for each in values[:_NAMED])
    return f"{shown} and {more} more" if more > 0 else shown


def _next(ramp: ramps.Ramp, now: datetime) -> str:
    if ramp.held_at is not None:
        return "; the ramp is held"
    if step := ramp.waiting(now):
        return f"; {percent(step.percentage)} waits for its evidence"
    coming = [step for step in ramp.steps if step.at > now]
    if not coming:
        return ""
    at = timezone.localtime(coming[0].at)
    gate = "" if ramp.opened is None else " at the earliest"
    return f"; {percent(coming[0].percentage)} from {at:%Y-%m-%d %H:%M}{gate}"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        steps = value.get("steps")  # Which somebody may have broken by hand.
        count = len(steps) if isinstance(steps, list) else 0
        return "held" if value.get("held_at") else how_many(count, "step")
    return {True: "on", False: "off", None: "none"}.get(value, str(value))
