"""A trend as a line: points for an SVG, drawn without a library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 120, 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What the template draws."""

    parts: Sequence[str]  # Of polylines: a day on which nothing was seen parts them.
    width: int = WIDTH
    height: int = HEIGHT
    words: str = ""  # For those who do not see it.


def draw(shares: Sequence[float | None]) -> Line:
    """The line of shares by day; a single day is a dash."""
    step = WIDTH / max(len(shares) - 1, 1)
    parts: list[list[str]] = [[]]
    for day, share in enumerate(shares):
        if share is None:
            parts.append([])
            continue
        x, y = day * step, 1 + (1 - share) * (HEIGHT - 2)
        parts[-1].append(f"{x:.1f},{y:.1f}")
    known = [share for share in shares if share is not None]
    words = f"from {known[0]:.0%} to {known[-1]:.0%}" if known else "nothing seen"
    return Line(
        parts=tuple(
            " ".join(part if len(part) > 1 else [part[0], _dash(part[0])])
            for part in parts
            if part
        ),
        words=words,
    )


def _dash(point: str) -> str:
    """The other end of a day that stands alone."""
    x, y = point.split(",")
    return f"{float(x) + (2 if float(x) < WIDTH else -2):.1f},{y}"
