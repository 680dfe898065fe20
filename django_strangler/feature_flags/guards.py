"""
Guards: rules on flags that act by themselves, and never raise a flag.

The process that writes evidence lets them look. What one does, its line of history and
its event are one transaction, in which the lock of all changes is held: of two
processes that see the same at once, one acts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db import connections, router, transaction
from django.db.models import QuerySet

from django_strangler.clock import DatabaseNow
from django_strangler.events import UNSET
from django_strangler.evidence.counts import check_source
from django_strangler.evidence.statistics import Doubt, Rule
from django_strangler.exceptions import InvalidEvidence, InvalidGuard

from . import alerts, ramps, rules
from .attribution import Author, attributed_to, current
from .changes import missing
from .models import BY_GUARD, Action, Flag, FlagChange, Guard, Incident
from .own_changes import note_change

DEFAULT = Rule()


def set_guard(
    name: str,
    *,
    on: Iterable[str],
    action: str,
    margin: float = DEFAULT.margin,
    limit: float = DEFAULT.limit,
    slower: float | None = UNSET,
    least: int = DEFAULT.least,
    window: timedelta | float = DEFAULT.window,
    by: Author = None,
    why: str = "",
) -> Guard:
    """
    Let a flag stop by itself when these sources are worse on the modern side.

    ``action`` is "hold", "rollback" or "off". A flag has one guard of each action; set
    again, it is another. ``margin`` and ``limit`` are in percent. ``slower`` is 1.2
    times legacy's p99, but None for routes, which are slower by the hop alone.
    """
    name = rules.check_name(name)
    sources = _checked_sources(on)
    if action not in Action.values:
        raise InvalidGuard(
            f'{action!r:.80} is not an action. A guard has "hold", "rollback" or "off".'
        )
    if slower is UNSET:
        is_route = any(source.startswith("route:") for source in sources)
        slower = None if is_route else DEFAULT.slower
    rule = check_rule(
        margin=margin, limit=limit, slower=slower, least=least, window=window
    )
    changed = {
        field: value
        for field, value in asdict(rule).items()
        if value != getattr(DEFAULT, field)
    }
    with _changing(name, by, why or f"guard: {action} on {', '.join(sources)}") as flag:
        who = current()
        guards = Guard.objects.using(flag._state.db)
        guard, _ = guards.update_or_create(
            flag=name,
            action=action,
            defaults={
                "sources": sources,
                "rule": changed,
                "by": who.by,
                "why": who.why,
                "at": DatabaseNow(),
            },
        )
        guard.refresh_from_db()
    return guard


def remove_guard(
    name: str, *, action: str | None = None, by: Author = None, why: str = ""
) -> int:
    """Take a flag's guards away, or the one with this action; says how many."""
    name = rules.check_name(name)
    with _changing(name, by, why or "guard removed") as flag:
        guards = Guard.objects.using(flag._state.db).filter(flag=name)
        if action is not None:
            guards = guards.filter(action=action)
        return guards.delete()[0]


def resume(name: str, *, by: Author = None, why: str = "") -> Flag:
    """
    Go on after an incident: it ends, and what its guard did is undone.

    A flag that was switched off is on again at its percentage, a ramp that was held
    goes on, a rollback stays. Without an incident, a held ramp goes on.
    """
    name = rules.check_name(name)
    alias = router.db_for_write(Flag)
    with transaction.atomic(using=alias), attributed_to(by, why or "resumed"):
        flag = Flag.objects.using(alias).locked(name) or missing(name)
        actions = {each.action for each in open_incidents(flag)}
        before = flag.state()
        if flag.ramp is None and not actions:
            ramps.require(flag.ramp, name)
        if Action.OFF in actions:
            flag.enabled = True
        if flag.ramp is not None and flag.enabled:
            flag.ramp = ramps.from_json(flag.ramp).resume(ramps.now()).to_json()
        _saved(flag, before)
        who = current()
        incidents = Incident.objects.using(alias).filter(flag=name, resumed_at=None)
        incidents.update(resumed_at=DatabaseNow(), by=who.by, why=who.why)
    return flag


def open_incidents(flag: Flag) -> QuerySet[Incident]:
    """Those that no person has ended: by resuming, or by changing the flag."""
    alias = router.db_for_write(Flag)
    ended = FlagChange.objects.using(alias).last_by_person(flag.name)
    found = Incident.objects.using(alias).filter(flag=flag.name, resumed_at=None)
    return found.filter(change__gt=ended)


def trip(guard: Guard, doubt: Doubt, *, change: int | None) -> Incident | None:
    """
    Do what the guard says, once: None if another process was faster.

    ``change`` is the flag's newest line of history as it was when the evidence was
    weighed; after a newer one, that evidence tells of another flag.
    """
    alias = router.db_for_write(Flag)
    with (
        transaction.atomic(using=alias),
        attributed_to(f"{BY_GUARD}{guard.action})", f"{doubt.source}: {doubt.text}"),
    ):
        flag = Flag.objects.using(alias).locked(guard.flag)
        found = Guard.objects.using(alias).filter(pk=guard.pk).first()
        is_set = found is not None and found.at == guard.at
        history = FlagChange.objects.using(alias).filter(flag=guard.flag)
        newest = history.values_list("pk", flat=True).first()
        if flag is None or not is_set or newest != change or not flag.enabled:
            return None
        before, share = flag.state(), flag.rollout()
        _act(flag, Action(guard.action), alias)
        if flag.enabled and flag.rollout() > share:
            raise AssertionError("a guard never raises a flag")
        _saved(flag, before)
        incident = Incident.objects.using(alias).create(
            flag=flag.name,
            action=guard.action,
            source=doubt.source,
            ground=doubt.ground.value,
            text=doubt.text,
            change=history.values_list("pk", flat=True)[0],
        )
        alerts.publish(
            {
                "flag": flag.name,
                "action": guard.action,
                "source": doubt.source,
                "ground": doubt.ground.value,
                "text": doubt.text,
                "incident": incident.pk,
                "enabled": flag.enabled,
                "percentageBefore": str(share),
                "percentage": str(flag.rollout()),
            }
        )
    return incident


def rule_of(guard: Guard) -> Rule:
    """What the guard allows; a row that was written by hand may hold anything."""
    given = guard.rule if isinstance(guard.rule, Mapping) else {}
    known = {name: value for name, value in given.items() if name in asdict(DEFAULT)}
    return check_rule(**{**asdict(DEFAULT), **known})


def check_rule(**given: Any) -> Rule:
    """The limits of a guard; none of them may make it trip always, or never."""
    if isinstance(given.get("window"), timedelta):
        given["window"] = given["window"].total_seconds()
    for field, least, most, what in (
        ("margin", 0, 100, "points of percent, from 0 to below 100"),
        ("limit", 0, 100, "a percentage between 0 and 100, both excluded"),
        ("slower", 1, 1000, "times the legacy side's p99: 1 or more, or None"),
        ("least", 1, 2**31, "a whole number of samples, 1 or more"),
        ("window", 10, 86400, "from ten seconds to a day"),
    ):
        value = given[field]
        if value is None and field == "slower":
            continue
        if (
            isinstance(value, bool)
            or not isinstance(value, int if field == "least" else (int, float))
            or not least <= value < most
            or (field == "limit" and value == 0)
        ):
            raise InvalidGuard(f"The guard's {field} is {value!r:.80}. It is {what}.")
    return replace(DEFAULT, **given)


def _act(flag: Flag, action: Action, alias: str) -> None:
    now = ramps.now()
    if action is Action.OFF:
        flag.enabled = False
    elif action is Action.HOLD:
        if flag.ramp is not None:
            flag.ramp = ramps.from_json(flag.ramp).hold(now).to_json()
    else:
        _roll_back(flag, alias)


def _roll_back(flag: Flag, alias: str) -> None:
    """To the last step of the ramp, or else to who was in before anybody was added."""
    share = flag.rollout()
    if flag.ramp is not None:
        earlier = ramps.from_json(flag.ramp).step_back(ramps.now())
        if earlier is not None:
            flag.ramp = earlier.to_json()
            if flag.rollout() < share:
                return
        # Before its first step, or it has gone down: the history knows more.
        flag.ramp = None
    history = FlagChange.objects.using(alias).filter(flag=flag.name)
    included = set(flag.included)
    for change in history[:100]:
        known = Flag(**(change.before or {"name": flag.name, "enabled": False}))
        known.prepare()
        then = known.rollout(ramps.zoned(change.at)) if known.enabled else Decimal(0)
        named = included & set(known.included if known.enabled else ())
        if then < share or named < included:
            flag.percentage = min(share, then)
            flag.included = sorted(named)
            flag.excluded = sorted({*flag.excluded, *known.excluded})
            return
    flag.percentage = Decimal(0)


def _saved(flag: Flag, before: dict[str, Any]) -> None:
    """Save with a line of history, also where nothing about the flag is another."""
    alias = flag._state.db
    if flag.prepare().state() != before:
        flag.save(using=alias)
        return
    FlagChange.of(before, before).save(using=alias)
    note_change(connections[alias or "default"])


@contextmanager
def _changing(name: str, by: Author, why: str) -> Iterator[Flag]:
    """A transaction in which a flag stays as it is, and its history gets a line."""
    alias = router.db_for_write(Flag)
    with transaction.atomic(using=alias), attributed_to(by, why):
        flag = Flag.objects.using(alias).locked(name) or missing(name)
        yield flag
        _saved(flag, flag.state())


def _checked_sources(on: Iterable[str]) -> list[str]:
    sources = [on] if isinstance(on, str) else list(on)
    if not sources:
        raise InvalidGuard(
            'The guard has no source. Say what it looks at: on=["route:payments-api"].'
        )
    try:
        return sorted({check_source(source) for source in sources})
    except InvalidEvidence as error:
        raise InvalidGuard(str(error)) from error
