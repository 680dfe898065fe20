"""Reading evidence: counts of all processes, this one's newest included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from django.db import connections
from django.db.models import BigIntegerField, Sum
from django.db.models.expressions import RawSQL

from django_strangler.clock import DatabaseNow, aware

from .counts import SIDES, Side, check_source, counts
from .histogram import quantile
from .models import EvidenceCount
from .writing import TODAY, database

# As long as slices are kept; a longer look back counts whole days.
SLICES_KEPT = timedelta(days=2)
DAYS_KEPT = timedelta(days=400)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of one side."""

    checked: int = 0
    failed: int = 0
    p50: float | None = None  # Seconds; None if no duration was noted.
    p99: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One row of about a minute, or what this process will write there."""

    process: str
    number: int
    source: str
    side: str
    began: float  # Seconds ago, and so are all times here.
    checked: int
    failed: int
    buckets: dict[int, int] = field(default_factory=dict)
    success: float | None = None
    failures: tuple[float, ...] = ()


class Day(NamedTuple):  # There are thousands of them: of all values the quickest made.
    """A source and side on one day, by UTC."""

    source: str
    side: str
    number: int  # Of the days since 1970.
    checked: int
    failed: int
    written_at: datetime


def seen(
    source: str, *, since: timedelta | datetime = timedelta(minutes=5)
) -> dict[str, Seen]:
    """
    What was seen of both sides of a source: ``seen(…)["modern"].failed``.

    Slices of a minute that began within ``since`` count whole; beyond two days, whole
    days do, while p50 and p99 still tell of the last two.
    """
    check_source(source)
    age = since if isinstance(since, timedelta) else datetime.now(timezone.utc) - since
    slices = list(recent([source], age))
    found: dict[str, Seen] = {
        side: summed(each for each in slices if each.side == side) for side in SIDES
    }
    if age <= SLICES_KEPT:
        return found
    by_days: dict[str, Seen] = {
        side: Seen(
            checked=checked, failed=failed, p50=found[side].p50, p99=found[side].p99
        )
        for side, (checked, failed) in _by_days(source, age).items()
    }
    return by_days


def summed(slices: Iterable[Slice]) -> Seen:
    """Slices as one."""
    checked = failed = 0
    buckets: Counter[int] = Counter()
    for each in slices:
        checked += each.checked
        failed += each.failed
        buckets.update(each.buckets)
    return Seen(
        checked=checked,
        failed=failed,
        p50=quantile(buckets, 0.5),
        p99=quantile(buckets, 0.99),
    )


def recent(sources: Iterable[str], age: timedelta) -> Iterator[Slice]:
    """The slices of these sources that began within an age, in one query."""
    wanted = set(sources)
    own = {
        (each.slice, each.source, each.side): each
        for each in counts.totals()
        if each.source in wanted
    }
    alias = database()
    rows = (
        EvidenceCount.objects.using(alias)
        .exclude(process="")
        .filter(source__in=wanted, at__gte=DatabaseNow(-age.total_seconds()))
        .annotate(now=DatabaseNow())
    )
    for row in rows:
        if row.source not in wanted:  # A collation's look-alike.
            continue
        # This process knows its own better.
        if row.process == counts.process and (row.slice, row.source, row.side) in own:
            continue
        now = _moment(row.now, alias)
        written = (now - _moment(row.written_at, alias)).total_seconds()
        yield Slice(
            process=row.process,
            number=row.slice,
            source=row.source,
            side=row.side,
            began=(now - _moment(row.at, alias)).total_seconds(),
            checked=row.checked,
            failed=row.failed,
            buckets={int(bucket): n for bucket, n in row.buckets.items()},
            success=None if row.success is None else row.success + written,
            failures=tuple(failure + written for failure in row.failures),
        )
    for each in own.values():
        if each.age <= age.total_seconds() and each.checked:
            yield Slice(
                process=counts.process,
                number=each.slice,
                source=each.source,
                side=each.side,
                began=each.age,
                checked=each.checked,
                failed=each.failed,
                buckets=each.buckets,
                success=each.success,
                failures=each.failures,
            )


def checked(sources: Iterable[str], age: timedelta) -> Counter[str]:
    """How many each source has seen on its modern side; a query."""
    wanted = set(sources)
    found: Counter[str] = Counter()
    own = [each for each in counts.totals() if each.side == "modern"]
    for each in own:
        if each.source in wanted and each.age <= age.total_seconds():
            # What is written already, the database will tell.
            found[each.source] += each.new_checked
    rows = EvidenceCount.objects.using(database()).exclude(process="")
    rows = rows.filter(
        source__in=wanted, side="modern", at__gte=DatabaseNow(-age.total_seconds())
    )
    for _pair, source, total in rows.values_list("pair", "source").annotate(
        Sum("checked")
    ):
        if source in wanted:
            found[source] += total
    return found


def days(sources: Iterable[str], age: timedelta) -> Iterator[Day]:
    """The days of these sources, in one query."""
    alias = database()
    wanted = set(sources)
    rows = EvidenceCount.objects.using(alias).filter(
        process="",
        slice__gte=_first_day(age, alias),
        source__in=wanted,
        at__gte=DatabaseNow(-age.total_seconds()),
    )
    fields = ("source", "side", "slice", "checked", "failed", "written_at")
    for source, side, number, checked, failed, at in rows.values_list(*fields):
        if source in wanted:
            yield Day(
                source=source,
                side=side,
                number=number,
                checked=checked,
                failed=failed,
                written_at=at if at.tzinfo else _moment(at, alias),
            )


def known_sources(kind: str, age: timedelta = DAYS_KEPT) -> list[str]:
    """The sources of a kind ("legacy", "branch") that were seen within an age."""
    rows = EvidenceCount.objects.using(database()).filter(
        process="",
        source__startswith=f"{kind}:",
        at__gte=DatabaseNow(-age.total_seconds()),
    )
    return sorted(set(rows.values_list("source", flat=True).distinct()))


def _by_days(source: str, age: timedelta) -> dict[Side, tuple[int, int]]:
    checked: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for each in counts.totals():
        if each.source == source:
            checked[each.side] += each.new_checked
            failed[each.side] += each.new_failed
    alias = database()
    rows = EvidenceCount.objects.using(alias).filter(
        process="",
        slice__gte=_first_day(age, alias),
        source=source,
        written_at__gte=DatabaseNow(-age.total_seconds()),
    )
    for _pair, found, side, good_and_bad, bad in rows.values_list(
        "pair", "source", "side"
    ).annotate(Sum("checked"), Sum("failed")):
        if found == source:  # And not a collation's look-alike.
            checked[side] += good_and_bad
            failed[side] += bad
    return {side: (checked[side], failed[side]) for side in SIDES}


def _first_day(age: timedelta, alias: str) -> RawSQL:
    """The day of so long ago: for the index, which finds days among many slices."""
    today = TODAY[connections[alias].vendor]
    ago = int(age.total_seconds() // 86400) + 1
    return RawSQL(f"{today} - %s", [ago], output_field=BigIntegerField())


def _moment(value: Any, alias: str) -> datetime:
    moment = aware(value, connections[alias])
    assert moment is not None
    return moment
