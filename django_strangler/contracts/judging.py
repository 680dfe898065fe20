"""Judging: whom the contracts as they are declared now would hurt."""

from __future__ import annotations

import copy
import enum
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from django_strangler.inbox.subscribers import registry as subscribers

from . import upcasters
from .accepted import accepted
from .declare import registry
from .events import Contract
from .fitting import Schema, misfit
from .needs import Need, brought_needs, own_needs
from .rules import Break, Place, breaks
from .samples import NOTHING, sample_of
from .snapshots import Snapshot, Store, paths_of, planned, walk

SAFE = 2**53 - 1  # Beyond it, JavaScript's numbers are not exact.


class Level(enum.Enum):
    """How bad it is."""

    BREAK = "BREAK"
    WARN = "WARN"
    NOTE = "NOTE"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One change, and whom it hurts."""

    level: Level
    type: str
    rule: str
    path: str = ""
    change: str = ""  # "1.0 -> 1.1".
    hurts: tuple[str, ...] = ()
    sample: Any = NOTHING  # What a reader would get, and not understand.
    todo: str = ""

    def hurting(self, reader: str) -> Judgement:
        """The same, with one more whom it hurts; an empty name is nobody's."""
        return replace(self, hurts=tuple(sorted({*self.hurts, reader} - {""})))


class Judge:
    """Looks at every type, with what readers need and what was accepted."""

    def __init__(self, store: Store, today: date) -> None:
        registry.discover()
        self.store = store
        self.today = today
        self.needs = [*own_needs(), *brought_needs(store)]
        self.accepted = accepted(store)

    def needs_of(self, type: str) -> list[Need]:
        """What its known readers read."""
        return [each for each in self.needs if each.type == type]

    def verdicts(self) -> list[Judgement]:
        """All of them, type by type."""
        foreign = {each.type for each in registry.readers} - {*registry.events}
        types = {*registry.events, *self.store.types(), *foreign}
        found: list[Judgement] = []
        for type in sorted({*types, *(each.type for each in self.needs)}):
            if type in registry.events:
                found += self._declared(registry.events[type])
            elif known := self.store.of(type):
                found += self._foreign(known) if type in foreign else self._gone(known)
            elif type not in foreign:
                found.append(
                    Judgement(
                        level=Level.WARN,
                        type=type,
                        rule="UNKNOWN_TYPE",
                        hurts=self._readers(type),
                        todo="Nobody here publishes it: correct or remove its needs.",
                    )
                )
        return [self._weighed(each) for each in found]

    def _declared(self, contract: Contract) -> Iterator[Judgement]:
        known = self.store.of(contract.type)
        now = planned(contract, known, _iso(registry.sunset(contract.type)))
        newest = known[-1] if known else now
        change = f"{newest.label} -> {now.label}"
        new = self._new_events(now, [*reversed(known)], change)
        yield from new.values()
        yield from self._old_rows(now, [*reversed(known)], {*new}, contract)
        if any(each.key != now.key for each in known):
            yield Judgement(
                level=Level.BREAK,
                type=now.type,
                rule="KEY_CHANGED",
                change=change,
                hurts=self._readers(now.type),
                todo="Order goes by the key: keep it, or publish a new major.",
            )
        for path in sorted({*paths_of(now.schema)} & {*newest.reserved}):
            yield Judgement(
                level=Level.BREAK,
                type=now.type,
                rule="RESERVED_NAME_USED",
                path=path,
                change=change,
                todo="It meant something else in old rows. Choose another name.",
            )
        for path in _unsafe(now.schema):
            yield Judgement(
                level=Level.WARN,
                type=now.type,
                rule="INT_UNSAFE_IN_JS",
                path=path,
                todo="limits(most=2**53 - 1), or publish it as text.",
            )
        if twice := self._handles_twice(contract):
            yield Judgement(
                level=Level.WARN,
                type=now.type,
                rule="HANDLED_TWICE",
                hurts=twice,
                todo="Their patterns match both majors: let them name one.",
            )
        if now.until and now.until < self.today.isoformat():
            yield Judgement(
                level=Level.WARN,
                type=now.type,
                rule="SUNSET_PASSED",
                hurts=self._wanted_by(now.type),
                todo=f"It was to end on {now.until}. Remove it, or set a later day.",
            )

    def _new_events(
        self, now: Snapshot, known: list[Snapshot], change: str
    ) -> dict[Place, Judgement]:
        """Old readers get new events: by place, the newest snapshot that breaks."""
        found: dict[Place, Judgement] = {}
        for old in known:
            for each in breaks(now.schema, old.schema):
                label = f"{old.label} -> {now.label}"
                found.setdefault(each.place, _of_new_event(each, now, label))
        for need in self.needs_of(now.type):
            for each in breaks(now.schema, need.schema):
                first = found.setdefault(each.place, _of_new_event(each, now, change))
                found[each.place] = first.hurting(need.reader)
        return found

    def _old_rows(
        self, now: Snapshot, known: list[Snapshot], told: set[Place], contract: Contract
    ) -> Iterator[Judgement]:
        """New readers get old rows, replays and dead letters."""
        itself = Need(reader="", type=now.type, schema=now.schema, contract=contract)
        found: dict[Place, Judgement] = {}
        for old in known:
            for need in (itself, *self.needs_of(now.type)):
                for each in breaks(old.schema, need.schema):
                    if each.place in told or _mends(old, each, need):
                        continue
                    label = f"{old.label} -> {now.label}"
                    first = found.setdefault(each.place, _of_old_row(each, old, label))
                    found[each.place] = first.hurting(need.reader)
        yield from found.values()

    def _foreign(self, known: list[Snapshot]) -> Iterator[Judgement]:
        """Judge how we read another project's event, whose snapshots lie here."""
        found = self._new_events(known[-1], [], known[-1].label)
        yield from found.values()

    def _gone(self, known: list[Snapshot]) -> Iterator[Judgement]:
        newest = known[-1]
        wanted = self._wanted_by(newest.type)
        is_over = newest.until is not None and newest.until < self.today.isoformat()
        may_go = is_over and not wanted
        yield Judgement(
            level=Level.NOTE if may_go else Level.BREAK,
            type=newest.type,
            rule="TYPE_DELETED",
            change=f"{newest.label} -> nothing",
            hurts=wanted,
            todo=(
                f"Its time is over, and nobody reads it: delete {self.store.root.name}/"
                f"{newest.type}."
                if may_go
                else "Bring it back with until=, and remove it after that day, once "
                "nobody reads it."
            ),
        )

    def _handles_twice(self, contract: Contract) -> tuple[str, ...]:
        old = contract.replaces
        if old is None:
            return ()
        both = (contract.type, old.type)
        found = [each for each in subscribers.all() if all(map(each.is_bound_to, both))]
        return tuple(sorted(each.name for each in found))

    def _readers(self, type: str) -> tuple[str, ...]:
        return tuple(sorted({each.reader for each in self.needs_of(type)}))

    def _wanted_by(self, type: str) -> tuple[str, ...]:
        named = {each.name for each in subscribers.all() if type in each.patterns}
        return tuple(sorted({*named, *self._readers(type)}))

    def _weighed(self, verdict: Judgement) -> Judgement:
        one = self.accepted.get((verdict.type, verdict.rule, verdict.path))
        if one is None or verdict.level is Level.NOTE:
            return verdict
        if one.until >= self.today:
            told = f"Accepted until {one.until}: {one.reason}"
            return replace(verdict, level=Level.NOTE, todo=told)
        told = f"It was accepted until {one.until}: {one.reason} {verdict.todo}"
        return replace(verdict, todo=told)


def _of_new_event(found: Break, now: Snapshot, change: str) -> Judgement:
    return Judgement(
        level=Level.BREAK if found.kind.fails_for_new_event else Level.WARN,
        type=now.type,
        rule=found.kind.of_new_event,
        path=found.path,
        change=change,
        sample=found.sample,
        todo=f"Keep it as it was, or publish a new major of {now.type} beside it.",
    )


def _of_old_row(found: Break, old: Snapshot, change: str) -> Judgement:
    return Judgement(
        level=Level.BREAK if found.kind.fails_for_old_row else Level.WARN,
        type=old.type,
        rule=found.kind.of_old_row,
        path=found.path,
        change=change,
        sample=found.sample,
        todo=(
            "Publish a new major beside it."
            if found.kind.fails_for_old_row
            else f"Raise version=, and write @upcast({old.type!r}, {old.major}, …)."
        ),
    )


def _mends(old: Snapshot, found: Break, need: Need) -> bool:
    """Whether the reader's upcasters make of the example what it can read."""
    if need.contract is None or found.kind.fails_for_old_row:
        return False
    if (old.type, old.major) not in upcasters.registered:
        return False
    sample = sample_of(old.schema) if found.sample is NOTHING else found.sample
    try:
        made = upcasters.upcasted(
            old.type, copy.deepcopy(sample), old.major, need.contract.version
        )
    except Exception:  # noqa: BLE001  It does not mend, for whatever reason.
        return False
    return misfit(need.schema, made) is None


def _unsafe(schema: Schema) -> Iterator[str]:
    for path, inner, _is_required in walk(schema):
        if "integer" in inner.get("type", ()) and "enum" not in inner:
            least, most = inner.get("minimum", 0), inner.get("maximum", SAFE + 1)
            if least < -SAFE or most > SAFE:
                yield path


def _iso(day: date | None) -> str | None:
    return None if day is None else day.isoformat()
