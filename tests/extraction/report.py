"""One page about a run: what was done, what was broken, and who noticed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from html import escape
from itertools import pairwise
from typing import Any

from .history import History, Row
from .judge import ENOUGH, Verdict

WIDE, LEFT, ROW, FOOT = 1100, 110, 70, 24
SIDES = {"": "#9aa4b2", "legacy": "#e8a13c", "modern": "#2f9e6e"}

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{word}: one extraction under fire</title>
<style>
:root {{ color-scheme: light dark; --line: #8884; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; }}
body {{ margin: 2rem auto; padding: 0 1rem; }}
h1 .good {{ color: #2f9e6e; }} h1 .bad {{ color: #d64545; }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
td, th {{ border-bottom: 1px solid var(--line); text-align: left; }}
td, th {{ padding: .2rem .8rem .2rem 0; }}
td.n {{ text-align: right; font-variant-numeric: tabular-nums; }}
svg {{ width: 100%; height: auto; }}
svg text {{ font: 11px system-ui, sans-serif; fill: currentColor; }}
</style>
<h1><span class="{tone}">{word}</span>: one extraction from end to end, under fire</h1>
<p>{sentence}</p>
{troubles}
<h2>The run</h2>
{timeline}
<p>From above: the phases; what was broken; requests in each second, by the side that
answered (<b style="color:{legacy}">legacy</b>, <b style="color:{modern}">modern</b>,
<b style="color:{other}">not routed</b>); tries without an answer; the slowest hundredth
of each second; events that wait.</p>
<h2>Figures</h2>
{figures}
<h2>Phases</h2>
{phases}
<h2>What was broken</h2>
{faults}
<p>Repeat it: <code>make extraction SECONDS={seconds:g} SEED={seed}</code></p>
</html>
"""


def page(history: History, verdict: Verdict, options: Mapping[str, Any]) -> str:
    """All of it in one file, which needs nothing else."""
    figures = verdict.figures
    word = "Nobody was harmed" if verdict.is_good else "Somebody was harmed"
    sentence = (
        f"{figures['customers']:,} customers, {figures['requests']:,} requests and "
        f"{figures['faults']:,} faults, while payments left the monolith. Downtime: "
        f"{figures['downtime, s']} s. In the books: {figures['money in the books']}; "
        f"at the bank: {figures['money at the bank']}."
    )
    troubles = "".join(f"<li>{escape(each)}</li>" for each in verdict.troubles)
    shown = [
        {
            "phase": f"{number}. {row['name']}",
            "seconds": f"{row['seconds']:.0f}",
            "tries": f"{row['tries']:,}",
            "errors": f"{row['errors'] / max(1, row['tries']):.2%}",
            "modern": f"{row['modern'] / max(1, row['tries']):.0%}",
            "p50, ms": f"{row['p50'] * 1000:.0f}" if row["calm"] else "",
            "p99, ms": f"{row['p99'] * 1000:.0f}" if row["calm"] else "",
            **_beside(row, figures.get("p99 of the control run, ms")),
        }
        for number, row in enumerate(verdict.phases, start=1)
    ]
    kinds = Counter(row["name"] for row in history.faults)
    return PAGE.format(
        word=word,
        tone="good" if verdict.is_good else "bad",
        sentence=escape(sentence),
        troubles=f"<ul>{troubles}</ul>" if troubles else "",
        timeline=timeline(history),
        legacy=SIDES["legacy"],
        modern=SIDES["modern"],
        other=SIDES[""],
        figures=table({"": name, " ": _said(value)} for name, value in figures.items()),
        phases=table(shown),
        faults=table({"fault": name, "times": n} for name, n in sorted(kinds.items())),
        seconds=options.get("seconds", history.seconds),
        seed=options.get("seed", 1),
    )


def _beside(row: Row, bar: Any) -> dict[str, str]:
    """How many times as long as in the control run the slowest hundredth takes."""
    if not bar:
        return {}
    enough = row["calm"] >= ENOUGH
    return {"of the control": f"{1000 * row['p99'] / bar:.2f}" if enough else ""}


def _said(value: object) -> str:
    """A figure, or some of them."""
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    rows = list(rows)
    if not rows:
        return "<p>Nothing.</p>"
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{'' if number == 0 else ' class=n'}>{escape(str(value))}</td>"
            for number, value in enumerate(row.values())
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def timeline(history: History) -> str:
    """Drawn by second, each row below the other."""
    start, end = history.phases[0]["at"], history.phases[-1]["at"]
    seconds = max(1, int(end - start))
    step = WIDE / seconds

    def x(at: float) -> float:
        return LEFT + (at - start) * step

    rows = [_phases(history.phases, x), _faults(history.faults, x)]
    by_second: list[list[Row]] = [[] for _ in range(seconds)]
    for each in history.tries:
        if 0 <= (number := int(each["at"] - start)) < seconds:
            by_second[number].append(each)
    most = max(map(len, by_second), default=1) or 1
    bars, errors, slow = [], [], []
    for number, tries in enumerate(by_second):
        base = 0.0
        for side, colour in SIDES.items():
            share = sum(t["side"] == side and t["status"] > 0 for t in tries) / most
            bars.append(_bar(LEFT + number * step, step, base, share, colour))
            base += share
        failed = sum(not 0 < t["status"] < 500 for t in tries)
        errors.append(_bar(LEFT + number * step, step, 0, failed / most, "#d64545"))
        took = sorted(t["took"] for t in tries)
        worst = took[int(0.99 * len(took))] if took else 0.0
        slow.append(_bar(LEFT + number * step, step, 0, min(1, worst / 2), "#5b7fd6"))
    peak = max((row["pending"] for row in history.lags), default=0) or 1
    lag = [
        _bar(x(row["at"]), 1.5, 0, row["pending"] / peak, "#8a5bd6")
        for row in history.lags
        if start <= row["at"] <= end
    ]
    rows += [
        _row(f"{most} a second", "".join(bars)),
        _row("no answer", "".join(errors)),
        _row("p99, up to 2 s", "".join(slow)),
        _row(f"{peak} events wait", "".join(lag)),
        _minutes(seconds, step),
    ]
    height = ROW * (len(rows) - 1) + FOOT
    drawn = "".join(
        f'<g transform="translate(0 {ROW * number})">{row}</g>'
        for number, row in enumerate(rows)
    )
    return f'<svg viewBox="0 0 {LEFT + WIDE} {height}" role="img">{drawn}</svg>'


def picture(history: History) -> str:
    """The timeline as a file of its own, for a page of the docs."""
    return timeline(history).replace(
        'role="img">',
        'xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="13">'
        '<rect width="100%" height="100%" fill="#fff"/>',
    )


def _minutes(seconds: int, step: float) -> str:
    """The foot of it all."""
    return "".join(
        f'<text x="{LEFT + second * step:.0f}" y="15">{second // 60} min</text>'
        for second in range(0, seconds - 15, 60)
    )


def _row(title: str, drawn: str) -> str:
    line = f'<line x1="{LEFT}" x2="{LEFT + WIDE}" y1="60" y2="60" stroke="#8886"/>'
    return f'<text x="0" y="40">{escape(title)}</text>{drawn}{line}'


def _bar(x: float, width: float, base: float, share: float, colour: str) -> str:
    if share <= 0:
        return ""
    return (
        f'<rect x="{x:.1f}" width="{width:.2f}" y="{60 - 50 * (base + share):.1f}" '
        f'height="{50 * share:.1f}" fill="{colour}"/>'
    )


def _phases(phases: list[Row], x: Any) -> str:
    drawn: list[str] = []
    free = [0.0, 0.0]  # Where each of two lines has room for the next number.
    for number, (this, following) in enumerate(pairwise(phases)):
        left, right = x(this["at"]), x(following["at"])
        colour = "#5b7fd644" if number % 2 else "#5b7fd688"
        title = f"<title>{escape(this['name'])}</title>"
        drawn.append(
            f'<rect x="{left:.1f}" width="{right - left:.1f}" y="30" height="30" '
            f'fill="{colour}">{title}</rect>'
        )
        line = 0 if free[0] <= left else 1
        if free[line] <= left:
            free[line] = left + 16
            y = 26 - 12 * line
            drawn.append(f'<text x="{left + 2:.1f}" y="{y}">{number + 1}</text>')
    return _row("phases", "".join(drawn))


def _faults(faults: list[Row], x: Any) -> str:
    return _row(
        "faults",
        "".join(
            f'<rect x="{x(row["at"]):.1f}" y="10" height="50" fill="#d6454599" '
            f'width="{max(2.0, x(row["ended"]) - x(row["at"])):.1f}">'
            f"<title>{escape(row['name'])}: {escape(row['proof'])}</title></rect>"
            for row in faults
        ),
    )
