"""The traffic of an hour as a drawing: numbers in, places out; the template draws."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from .traffic import COUNTED, MINUTES, Traffic

WIDTH, HEIGHT = 720, 160
SLOT = WIDTH // MINUTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One minute's confirmed events."""

    x: int
    y: int
    height: int
    slot: int  # Where the minute begins.
    is_cut: bool  # It would be higher than the drawing.
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Confirmed events are bars, published ones a line with steps."""

    bars: tuple[Bar, ...]
    line: str  # The points of a polyline.
    top: str  # What the upper edge stands for.
    summary: str
    first: str  # The time at which the drawing begins.
    last: str  # And that at which its last minute did.
    width: int = WIDTH
    height: int = HEIGHT
    bar_width: int = SLOT - 3
    slot_width: int = SLOT


def draw(traffic: Traffic, *, until: datetime) -> Chart:
    """
    Lay an hour out, whose last minute began ``until``.

    When a backlog is drained, thousands are confirmed in a minute. Its bar is cut, or
    all the others would be flat.
    """
    line, bar = max(traffic.published), max(traffic.confirmed)
    top = min(_round_up(max(line, min(bar, 2 * line or bar))), COUNTED)

    def y(number: int) -> int:
        # What is not zero can be seen.
        height = round(HEIGHT * min(number, top) / top)
        return HEIGHT - (max(height, 2) if number else 0)

    bars, points = [], []
    for slot, (published, confirmed) in enumerate(
        zip(traffic.published, traffic.confirmed, strict=True)
    ):
        left = slot * SLOT
        points += [f"{left},{y(published)}", f"{left + SLOT},{y(published)}"]
        when = f"{until - timedelta(minutes=MINUTES - 1 - slot):%H:%M}"
        bars.append(
            Bar(
                x=left + 1,
                y=y(confirmed),
                height=HEIGHT - y(confirmed),
                slot=left,
                is_cut=confirmed > top or confirmed >= COUNTED,
                text=f"{when}: {_about(traffic, published)} published, "
                f"{_counted(confirmed)} confirmed",
            )
        )
    return Chart(
        bars=tuple(bars),
        line=" ".join(points),
        top=f"{_counted(top)} a minute",
        summary=_summary(traffic),
        first=f"{until - timedelta(minutes=MINUTES - 1):%H:%M}",
        last=f"{until:%H:%M}",
    )


def _summary(traffic: Traffic) -> str:
    published, confirmed = sum(traffic.published), sum(traffic.confirmed)
    more = " or more" if max(traffic.confirmed) >= COUNTED else ""
    return (
        f"{_about(traffic, published)} published and {confirmed:,}{more} confirmed "
        "in the last hour"
    )


def _about(traffic: Traffic, number: int) -> str:
    return f"{'about ' if traffic.step > 1 and number else ''}{number:,}"


def _counted(number: int) -> str:
    return f"{number:,}{' or more' if number >= COUNTED else ''}"


def _round_up(number: int) -> int:
    """The next number that is easily read; at least 10."""
    tens = 1
    while number > 100 * tens:
        tens *= 10
    easy = (10, 15, 20, 30, 40, 50, 60, 80, 100)
    return next(each * tens for each in easy if each * tens >= number)
