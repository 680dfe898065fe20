"""What this process has moved and compared, and how its moves stood last."""

from __future__ import annotations

from django_strangler import counting

rows = counting.counter(
    "moves_rows",
    "Rows that were copied, followed, compared, and found to differ.",
    labels=("move", "what"),
)
COPIED, FOLLOWED, COMPARED, DIFFERING = "copied", "followed", "compared", "differing"

closed = counting.histogram(
    "moves_closed_seconds",
    "For how long writers were kept waiting by a switch.",
    labels=("move",),
    buckets=(0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0),
)

# By move, of the movers in this process.
lags: dict[tuple[str, ...], float] = {}
counting.gauge(
    "moves_lag_seconds",
    "Of a mover: how old the oldest mark was when it looked.",
    labels=("move",),
    read=lambda: dict(lags),
)
