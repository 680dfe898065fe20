"""What the board shows of experiments and branches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

from django.db import router
from django.utils import timezone

from django_strangler import conf
from django_strangler.evidence.reading import known_sources
from django_strangler.monitoring.board import Shown, domain_of_module

from .branches import slug
from .models import ExperimentTotal, Mismatch, differed
from .recording import CONTROL, excused
from .registry import Branch, branches, discover, registry


def experiments() -> Iterator[Shown]:
    """Each experiment that is declared or has run, in two queries."""
    discover()
    alias = router.db_for_write(Mismatch)
    totals = list(ExperimentTotal.objects.using(alias))
    runs, differ = Counter[str](), Counter[str]()
    for total in totals:
        if total.candidate != CONTROL:
            runs[total.experiment] += total.runs
            differ[total.experiment] += total.mismatches
    places = _places(alias, totals)
    by_slug = {slug(flag): branch for flag, branch in branches.items()}
    for name in sorted({*registry, *runs}):
        known, branch = registry.get(name), by_slug.get(name.rpartition(".")[0])
        flag = known.flag if known is not None else branch and branch.shadow
        yield Shown(
            domain=_domain(name, branch),
            name=name,
            text=(
                differed(differ[name], runs[name])
                if runs[name]
                else "no candidate has run"
            ),
            left=(
                f"Places in which the experiment {name} differs, seen of late and not "
                f"marked as known: {places[name]}.",
            )
            if places[name]
            else (),
            next=f"See what differs: manage.py strangler_experiments list {name}"
            if places[name]
            else "",
            quiet=(f"experiment:{name}",),
            shadows=(flag,) if flag else (),
        )


def _places(alias: str, totals: list[ExperimentTotal]) -> Counter[str]:
    """How many places of each experiment a person has to look at."""
    rows = list(Mismatch.objects.using(alias).defer("samples").order_by())
    fine = excused(totals, rows)
    since = timezone.now() - timedelta(seconds=conf.current().retire_after)
    return Counter(
        row.experiment
        for row in rows
        if row.candidate != CONTROL
        and row.last_at > since
        and (row.experiment, row.candidate, row.path) not in fine
    )


def _domain(name: str, branch: Branch | None) -> str:
    if branch is not None:
        return domain_of_module(branch.module)
    known = registry.get(name)
    return domain_of_module(known.control.__module__) if known and known.control else ""


def all_branches() -> Iterator[Shown]:
    """Each branch that is declared here or was seen of late, in one query."""
    discover()
    age = timedelta(seconds=conf.current().retire_after)
    seen = {source.partition(":")[2] for source in known_sources("branch", age)}
    for flag in sorted({*branches, *seen}):
        branch = branches.get(flag)
        yield Shown(
            domain=domain_of_module(branch.module) if branch is not None else "",
            name=flag,
            sources=(f"branch:{flag}",),
            flags=(flag,),
            shadows=(branch.shadow,) if branch is not None and branch.shadow else (),
        )
