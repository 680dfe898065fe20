"""What the doctor and the board say about sagas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from django.db import router
from django.db.models import Count

from django_strangler.findings import Finding, Level
from django_strangler.monitoring.board import Shown, domain_of_module

from .conf import settings
from .definitions import registry
from .models import SagaRun, SagaRunQuerySet, States


def find() -> Iterator[Finding]:
    """Stuck ones, silent ones, and those without code."""
    rows = runs()
    yield from _stuck(rows)
    yield from _silent(rows)
    for text in without_code():
        yield Finding(
            Level.TROUBLE, text, "Keep a saga's class until its last one has ended."
        )


def runs() -> SagaRunQuerySet:
    """The table, where it is written."""
    found: SagaRunQuerySet = SagaRun.objects.using(router.db_for_write(SagaRun))
    return found


def without_code() -> Iterator[str]:
    """Names and versions of sagas under way that no class is there for."""
    known = registry.all()
    counted = runs().running().values_list("name", "version").annotate(Count("id"))
    for name, version, number in counted.order_by("name", "version"):
        if (name, version) not in known:
            yield f"{number} of the saga {name!r}, version {version}, have no code."


def _stuck(rows: SagaRunQuerySet) -> Iterator[Finding]:
    oldest = rows.stuck().order_by("updated_at").first()
    if oldest is None:
        yield Finding(Level.FINE, "No saga is stuck.")
        return
    yield Finding(
        Level.TROUBLE,
        f"{rows.stuck().count()} stuck sagas; the oldest is {oldest} at "
        f"{oldest.step!r}: {oldest.reason}",
        "Open Sagas in the admin: retry the step, skip its undo, or resolve it by "
        "hand.",
    )


def _silent(rows: SagaRunQuerySet) -> Iterator[Finding]:
    silent = rows.silent(settings().silent_after).order_by("due_at").first()
    if silent is not None:
        yield Finding(
            Level.TROUBLE,
            f"The timeout of {silent} at {silent.step!r} was due and has not come.",
            "See that a relay drains the outbox, and that a consumer handles "
            "saga.reply and saga.timeout: manage.py consume_events.",
        )


def shown() -> Iterator[Shown]:
    """For the board: the sagas under way by name, in one query; stuck ones hold."""
    found: dict[str, Counter[int]] = {}
    modules: dict[str, str] = {}
    counted = runs().running().order_by("name", "version")
    for name, version, state, number in counted.values_list(
        "name", "version", "state"
    ).annotate(Count("id")):
        found.setdefault(name, Counter())[state] += number
        if (name, version) in (known := registry.all()):
            modules[name] = known[name, version].__module__
    for name, by_state in found.items():
        stuck = by_state[States.STUCK]
        hold = (
            f"{stuck} of the saga {name} {'is' if stuck == 1 else 'are'} stuck. Open "
            "Sagas in the admin: retry the step, skip its undo, or resolve it by hand."
        )
        yield Shown(
            domain=domain_of_module(modules.get(name, "")),
            name=name,
            text=f"{by_state.total()} under way",
            hold=(hold,) if stuck else (),
        )
