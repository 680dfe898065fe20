"""
The board: one row per domain, and a verdict: go on, hold, or safe to retire.

Who has something to show registers it. The board asks the evidence itself, in one
query: how large the modern side's share was, and when legacy's side was seen last.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from django.http import HttpRequest

from django_strangler import conf
from django_strangler.domains import domain_of as domain_of
from django_strangler.domains import domain_of_module as domain_of_module
from django_strangler.evidence.reading import Day, days

from . import core_board, panels, trend
from .showing import Shown as Shown

FLAGS = "Flags"
EVERY = "*"  # The domain of what is shown in each row, and makes none.
TREND = 30  # Days.


class Verdict(enum.Enum):
    """What to do with a domain."""

    GO_ON = "go on"
    HOLD = "hold"
    RETIRE = "safe to retire"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A domain as it stands."""

    domain: str
    verdict: Verdict
    reasons: tuple[str, ...]  # Why to hold; else what is left, or since when.
    next: tuple[str, ...]
    shown: Mapping[str, Sequence[Shown]]  # By the title of what registered it.
    trend: Sequence[float | None]  # The modern share by day, the oldest first.

    @property
    def share(self) -> float | None:
        """The modern share on the last day on which anything was seen."""
        return next((each for each in reversed(self.trend) if each is not None), None)


Collect = Callable[[], Iterable[Shown]]


def register(title: str, collect: Collect, *, order: int = 50) -> None:
    """Let the board show what ``collect`` finds, under this title."""
    _registered[title] = (order, collect)


def registered() -> Mapping[str, Collect]:
    """What is shown, in its order."""
    ordered = sorted(_registered.items(), key=lambda each: (each[1][0], each[0]))
    return {title: collect for title, (_, collect) in ordered}


def rows(domain: str | None = None) -> list[Row]:
    """The board by domain, or the row of one."""
    found: defaultdict[str, dict[str, list[Shown]]] = defaultdict(dict)
    everything = [
        (title, each) for title, collect in registered().items() for each in collect()
    ]
    # Who uses a flag knows its domain; the flag itself does not.
    homes = {
        flag: each.domain
        for _, each in everything
        for flag in (*each.flags, *each.shadows)
        if each.domain
    }
    shadows = {flag for _, each in everything for flag in each.shadows}
    shadows -= {
        flag for title, each in everything for flag in each.flags if title != FLAGS
    }
    existing = {each.name for title, each in everything if title == FLAGS}
    for title, each in everything:
        if missing := [flag for flag in each.flags if flag not in existing]:
            each = _asks_in_vain(each, missing)
        asked = (each.name, *each.flags)
        home = each.domain or next((homes[f] for f in asked if f in homes), "")
        if home != EVERY and domain in (None, home):
            if title == FLAGS and each.name in shadows:
                each = replace(each, left=(), next="", since=None, flags=())
            found[home].setdefault(title, []).append(each)
    for title, each in everything:
        for by_title in found.values() if each.domain == EVERY else ():
            by_title.setdefault(title, []).append(each)
    keep = timedelta(seconds=conf.current().retire_after)
    sources = {
        source
        for by_title in found.values()
        for shown in by_title.values()
        for each in shown
        for source in (*each.sources, *each.quiet)
    }
    seen: defaultdict[str, list[Day]] = defaultdict(list)
    if sources:
        for day in days(sources, max(keep, timedelta(days=TREND))):
            seen[day.source].append(day)
    now = datetime.now(timezone.utc)
    return [_row(home, found[home], seen, keep, now) for home in sorted(found)]


def _asks_in_vain(shown: Shown, flags: Iterable[str]) -> Shown:
    """Nothing is seen of what a flag that is not there decides, and nothing is done."""
    left = [
        f"The flag {flag} of {shown.name} does not exist, so legacy serves everybody."
        for flag in flags
    ]
    create = f"Create the flag: manage.py flag set {next(iter(flags))} 0"
    return replace(shown, left=(*shown.left, *left), next=shown.next or create)


def _row(
    domain: str,
    shown: Mapping[str, Sequence[Shown]],
    seen: Mapping[str, Sequence[Day]],
    keep: timedelta,
    now: datetime,
) -> Row:
    everything = [each for some in shown.values() for each in some]
    hold = [text for each in everything for text in each.hold]
    left = [text for each in everything for text in each.left]
    since = [each.since for each in everything if each.since]
    for each in everything:
        for source in each.sources:
            last = _last(day for day in seen.get(source, ()) if day.side == "legacy")
            since += [last] if last else []
            if last and last > now - keep:
                left.append(
                    f"{source} was seen on the legacy side on {last:%Y-%m-%d}, less "
                    f"than {_days(keep)} ago."
                )
        for source in each.quiet:
            last = _last(
                day
                for day in seen.get(source, ())
                if day.side == "modern" and day.failed
            )
            since += [last] if last else []
            if last and last > now - keep:
                left.append(
                    f"{source} failed on {last:%Y-%m-%d}, less than {_days(keep)} ago."
                )
    is_moving = any(each.sources or each.flags or each.left for each in everything)
    if hold:
        verdict, reasons = Verdict.HOLD, hold
    elif left or not is_moving:
        verdict, reasons = Verdict.GO_ON, left or ["Nothing of it is being moved."]
    else:
        verdict = Verdict.RETIRE
        reasons = [f"Quiet since {max(since):%Y-%m-%d}." if since else "Quiet."]
    return Row(
        domain=domain,
        verdict=verdict,
        reasons=tuple(dict.fromkeys(reasons)),
        next=tuple(dict.fromkeys(each.next for each in everything if each.next)),
        shown=shown,
        trend=_trend({s for each in everything for s in each.sources}, seen, now),
    )


def _last(found: Iterable[Day]) -> datetime | None:
    return max((day.written_at for day in found if day.checked), default=None)


def _trend(
    sources: Iterable[str], seen: Mapping[str, Sequence[Day]], now: datetime
) -> list[float | None]:
    today = int(now.timestamp()) // 86400
    modern: defaultdict[int, int] = defaultdict(int)
    both: defaultdict[int, int] = defaultdict(int)
    for source in sources:
        for day in seen.get(source, ()):
            both[day.number] += day.checked
            modern[day.number] += day.checked if day.side == "modern" else 0
    return [
        modern[number] / both[number] if both[number] else None
        for number in range(today - TREND + 1, today + 1)
    ]


def _days(span: timedelta) -> str:
    days = span.total_seconds() / 86400
    return "a day" if days == 1 else f"{days:g} days"


def _panel(request: HttpRequest) -> Mapping[str, Any]:
    return {"rows": [(row, trend.draw(row.trend)) for row in rows()]}


_registered: dict[str, tuple[int, Collect]] = {
    FLAGS: (0, core_board.flags),
    "Subscribers": (80, core_board.subscribers),
    "Legacy code": (90, core_board.legacy_code),
}
panels.register(
    panels.Panel(
        name="board",
        title="Domains",
        permission="strangler.view_flag",
        data=_panel,
        template="admin/strangler/board.html",
        order=0,
    )
)
