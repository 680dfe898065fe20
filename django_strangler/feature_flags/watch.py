"""
Watching: whether a guard has to act, or a step of a ramp may open.

The process that writes evidence looks. What is watched is read again when a flag
changes. In between a look costs one query, and only where something could have become
worse: where the modern side failed, or, now and then, where it took its time.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Any

from django.db import connections, router, transaction

from django_strangler.announcing import Announcer
from django_strangler.clock import DatabaseNow
from django_strangler.clock import aware as aware_of
from django_strangler.evidence import reading
from django_strangler.evidence.counts import Total, counts
from django_strangler.evidence.statistics import Rule, judge
from django_strangler.exceptions import StranglerError

from . import guards, ramps, snapshot
from .attribution import attributed_to
from .models import Action, Flag, FlagChange, Guard, Incident

announcer = Announcer(logging.getLogger("django_strangler.feature_flags"))

SLACK = 0.005  # Seconds: databases round times.
LAG = 0.5  # What a query asks for beyond that: it runs a moment later.
RELAXED = 5.0  # Seconds between two looks at durations alone, or at a step that waits.
BEFORE = timedelta(days=14)  # Where legacy's side comes from when it is hardly seen.
_ORDER = {action.value: number for number, action in enumerate(Action)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A flag with guards, or with a gated ramp."""

    name: str
    change: int | None  # Its newest line of history,
    changed: float  # and when that was, on the monotonic clock.
    ramp: ramps.Ramp | None
    guards: tuple[tuple[Guard, Rule], ...]  # The strongest action first.
    incidents: frozenset[str]  # The actions of open ones.

    def age(self) -> float:
        """Seconds since it changed last, or its ramp moved it on."""
        age = monotonic() - self.changed
        reached = self.ramp.reached(ramps.now()) if self.ramp else []
        if self.ramp and reached and not self.ramp.held_at:
            age = min(age, (ramps.now() - reached[-1].at).total_seconds())
        return max(age, 0.0)


class Watch:
    """What this process knows of guards."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """As if it had never looked."""
        self._stamp: str | None = ""
        self._watched: list[Watched] = []
        self._looked: defaultdict[str, float] = defaultdict(float)
        self._steps: dict[str, int] = {}

    def look(self, taken: Sequence[Total]) -> None:
        """Act where these notes leave no doubt. Called after each writing."""
        known = snapshot.current()
        if known is None:
            return
        if known.stamp != self._stamp:
            counts.cut()
            self._watched = list(_read())
            self._stamp = known.stamp
        failed = {each.source for each in taken if each.new_failed}
        noted = {each.source for each in taken}
        for each in self._watched:
            self._cut_at_steps(each)
            try:
                if not self._guard(each, failed, noted):
                    self._open_step(each)
            except StranglerError as error:
                announcer.once(each.name, "A guard of %r: %s", each.name, error)

    def _guard(self, flag: Watched, failed: set[str], noted: set[str]) -> bool:
        """Whether a guard has acted."""
        for guard, rule in flag.guards:
            sources = set(guard.sources)
            is_due = sources & failed or (
                rule.slower is not None
                and sources & noted
                and self._take_turn(f"{flag.name} {guard.action}")
            )
            if not is_due or guard.action in flag.incidents:
                continue
            found = _slices(sources, min(flag.age(), rule.window))
            # Asked after the reading: what came right after the change must not seem
            # to be older.
            age = min(flag.age() + SLACK, rule.window)
            for source in sorted(sources):
                of_source = [
                    each
                    for each in found
                    if each.source == source and each.began <= age
                ]
                if not any(each.side == "modern" for each in of_source):
                    continue
                before = _before(source, rule, of_source)
                doubt = judge(rule, source, of_source, age, before=before)
                if doubt and guards.trip(guard, doubt, change=flag.change):
                    return True
        return False

    def _open_step(self, flag: Watched) -> None:
        if flag.ramp is None or flag.ramp.waiting(ramps.now()) is None:
            return
        if self._take_turn(f"{flag.name} step") and not lacking(flag):
            open_step(flag)

    def _take_turn(self, what: str) -> bool:
        now = monotonic()
        if now < self._looked[what] + RELAXED:
            return False
        self._looked[what] = now
        return True

    def _cut_at_steps(self, flag: Watched) -> None:
        # What was noted before a step tells nothing about it.
        reached = len(flag.ramp.reached(ramps.now())) if flag.ramp else 0
        if self._steps.setdefault(flag.name, reached) != reached:
            self._steps[flag.name] = reached
            counts.cut()


def lacking(flag: Watched) -> list[str]:
    """What a step of a gated ramp still waits for, besides its time."""
    if flag.incidents:
        return ["an incident is open: resume, once its cause is gone"]
    if not flag.guards:
        return ["the flag has no guard, so nothing tells how it goes: set one"]
    lacks = []
    age = min(timedelta(seconds=flag.age() + LAG), reading.SLICES_KEPT)
    seen = reading.checked([s for guard, _ in flag.guards for s in guard.sources], age)
    for guard, rule in flag.guards:
        lacks += [
            f"{source} has seen {seen[source]:,} of {rule.least:,} on the modern side"
            for source in guard.sources
            if seen[source] < rule.least
        ]
    return lacks


def open_step(flag: Watched) -> None:
    """Open the step that waits; nothing if the flag has changed meanwhile."""
    alias = router.db_for_write(Flag)
    with (
        transaction.atomic(using=alias),
        attributed_to("gated ramp", "its guards have seen enough and are well"),
    ):
        found = Flag.objects.using(alias).locked(flag.name)
        changes = FlagChange.objects.using(alias).filter(flag=flag.name)
        newest = changes.values_list("pk", flat=True).first()
        if found is None or not found.enabled or newest != flag.change:
            return
        ramp = ramps.require(found.ramp, flag.name)
        if ramp.waiting(ramps.now()) is not None:
            found.ramp = ramp.open(ramps.now()).to_json()
            found.save(using=alias)


def watched(name: str) -> Watched | None:
    """One flag as guards see it now."""
    return next((each for each in _read(name) if each.name == name), None)


def _read(name: str | None = None) -> Iterable[Watched]:
    alias = router.db_for_write(Flag)
    flags = Flag.objects.using(alias).filter(enabled=True)
    rows = Guard.objects.using(alias).all()
    by_flag: defaultdict[str, list[tuple[Guard, Rule]]] = defaultdict(list)
    for guard in rows if name is None else rows.filter(flag=name):
        try:
            by_flag[guard.flag].append((guard, guards.rule_of(guard)))
        except StranglerError as error:
            announcer.once(("guard", guard.pk), "The guard %s: %s", guard, error)
    incidents = _open_incidents(alias)
    now = monotonic()  # Before the query: a change must not seem younger than it is.
    for flag in flags if name is None else flags.filter(name=name):
        try:
            ramp = ramps.from_json(flag.ramp) if flag.ramp is not None else None
        except StranglerError:
            ramp = None  # The snapshot says so.
        if flag.name not in by_flag and (ramp is None or ramp.opened is None):
            continue
        history = FlagChange.objects.using(alias).filter(flag=flag.name)
        lines = list(history.annotate(now=DatabaseNow())[:20])
        # What a person has changed since then, has ended an incident.
        by_person = next((each.pk for each in lines if each.is_by_person), 0)
        yield Watched(
            name=flag.name,
            change=lines[0].pk if lines else None,
            changed=now - (_ago(lines[0], alias) if lines else 0.0),
            ramp=ramp,
            guards=tuple(sorted(by_flag[flag.name], key=_strength)),
            incidents=frozenset(
                action for action, line in incidents[flag.name] if line > by_person
            ),
        )


def _strength(pair: tuple[Guard, Rule]) -> int:
    return _ORDER.get(pair[0].action, len(_ORDER))


def _ago(line: Any, alias: str) -> float:
    then, now = (aware_of(each, connections[alias]) for each in (line.at, line.now))
    assert then is not None
    assert now is not None
    return (now - then).total_seconds()


def _open_incidents(alias: str) -> defaultdict[str, list[tuple[str, int]]]:
    found: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    rows = Incident.objects.using(alias).filter(resumed_at=None)
    for flag, action, change in rows.values_list("flag", "action", "change"):
        found[flag].append((action, change))
    return found


def _slices(sources: set[str], age: float) -> list[reading.Slice]:
    return list(reading.recent(sources, timedelta(seconds=age + LAG)))


def _before(source: str, rule: Rule, slices: list[reading.Slice]) -> reading.Seen:
    legacy = sum(each.checked for each in slices if each.side == "legacy")
    if legacy >= rule.least:
        return reading.Seen()
    return reading.seen(source, since=BEFORE)["legacy"]


watch = Watch()
