"""What the core itself shows on the board: flags, subscribers, and legacy code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from django.db import connections, router
from django.utils.timezone import localtime

from django_strangler import conf
from django_strangler.clock import aware
from django_strangler.domains import domain_of, domain_of_module
from django_strangler.evidence.reading import known_sources
from django_strangler.exceptions import StranglerError
from django_strangler.feature_flags import ramps, watch, wording
from django_strangler.feature_flags.models import Flag, FlagChange, Incident
from django_strangler.inbox.subscribers import registry

from .showing import Shown


def flags() -> Iterator[Shown]:
    """Each flag, its ramp and its incidents."""
    alias = router.db_for_write(Flag)
    incidents: defaultdict[str, list[Incident]] = defaultdict(list)
    for incident in Incident.objects.using(alias).filter(resumed_at=None):
        incidents[incident.flag].append(incident)
    for flag in Flag.objects.using(alias):
        try:
            share = flag.rollout()
            ramp = ramps.from_json(flag.ramp) if flag.ramp is not None else None
        except StranglerError as error:
            yield Shown(domain="", name=flag.name, hold=(f"{flag.name}: {error}",))
            continue
        is_done = flag.enabled and share == 100
        since = _changed(flag, alias) if is_done else None
        keep = timedelta(seconds=conf.current().retire_after)
        left = ""
        if not is_done:
            left = f"{flag.name} is not at 100 %: {wording.rollout(flag)}."
        elif since and since > datetime.now(timezone.utc) - keep:
            left = (
                f"{flag.name} is at 100 % only since {since:%Y-%m-%d}; it takes "
                f"{keep.total_seconds() / 86400:g} days."
            )
        hold = tuple(_incidents(flag, incidents[flag.name], alias))
        yield Shown(
            domain="",
            name=flag.name,
            flags=(flag.name,),
            text=wording.rollout(flag),
            hold=hold,
            left=(left,) if left else (),
            next="" if is_done or hold else _next(flag, ramp),
            since=since,
        )


def _incidents(flag: Flag, found: list[Incident], alias: str) -> Iterator[str]:
    if not found:
        return
    by_person = FlagChange.objects.using(alias).last_by_person(flag.name)
    for each in found:
        if each.change > by_person:  # Else a person has ended it by a change.
            at = aware(each.at, connections[alias])
            yield (
                f"The guard of {flag.name} did its {each.action} on "
                f"{localtime(at):%Y-%m-%d %H:%M}: {each.source}: {each.text} "
                f"Then: manage.py flag resume {flag.name}"
            )


def _next(flag: Flag, ramp: ramps.Ramp | None) -> str:
    if not flag.enabled:
        return f"Enable {flag.name}."
    if ramp is None:
        return f"Raise {flag.name} from {wording.percent(flag.rollout())}."
    if ramp.held_at:
        return f"Resume the ramp of {flag.name}."
    if ramp.waiting(ramps.now()):
        seen = watch.watched(flag.name)
        lacking = watch.lacking(seen) if seen else []
        return f"{flag.name} waits: {'; '.join(lacking) or 'it opens in a moment'}."
    return ""


def _changed(flag: Flag, alias: str) -> datetime | None:
    if flag.ramp is not None:
        reached = ramps.from_json(flag.ramp).reached(ramps.now())
        return reached[-1].at if reached else None
    for line in FlagChange.objects.using(alias).filter(flag=flag.name)[:100]:
        if line.before is None or Flag(**line.before).prepare().rollout() != 100:
            return aware(line.at, connections[alias])
    return None


def subscribers() -> Iterator[Shown]:
    """Each subscriber, by the app that its function is in."""
    for each in registry.all():
        yield Shown(
            domain=domain_of_module(each.handler.__module__),
            name=each.name,
            text=", ".join(each.patterns),
            flags=(each.flag,) if each.flag else (),
        )


def legacy_code() -> Iterator[Shown]:
    """Code that should fall silent."""
    for source in known_sources("legacy"):
        name = source.partition(":")[2]
        yield Shown(domain=domain_of(name), name=name, sources=(source,))
