"""What log lines share: fields for machines, and an end to floods."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from .printable import printable

MOST = 5  # Lines of one kind,
WITHIN = 60.0  # in so many seconds; the others are counted.
KINDS = 100  # Told apart; when more come in that time, all others are one.
_OTHERS = ("others",)
_TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
_LONGEST = 255  # Characters of an id or a type.


def fields(
    id: object, type: object, headers: Mapping[Any, Any], **more: object
) -> dict[str, object]:
    """An event as ``extra`` of a log line: nothing that is in its payload."""
    # Whoever publishes chooses all three, and a plain-text log may show them.
    trace = _TRACE.fullmatch(str(headers.get("traceparent") or ""))
    event = {
        "event_id": printable(id, most=_LONGEST),
        "event_type": printable(type, most=_LONGEST),
        "trace_id": trace[1] if trace else "",
    }
    return {**event, **more}


class Sieve:
    """Lets the first lines of each kind through, and counts the rest."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._kinds: dict[object, tuple[float, int]] = {}

    def passes(self, *kind: object) -> str | None:
        """
        None: not this one. Otherwise what to put behind the line.

        That is empty, or says how many were left out before it.
        """
        now = self._monotonic()
        if kind not in self._kinds and len(self._kinds) >= KINDS:
            kind = self._make_room(kind, now)
        since, count = self._kinds.get(kind, (now, 0))
        left_out = 0
        if now >= since + WITHIN:
            left_out, since, count = max(0, count - MOST), now, 0
        self._kinds[kind] = since, count + 1
        if count >= MOST:
            return None
        return f" ({left_out} more like it were not logged)" if left_out else ""

    def _make_room(self, kind: tuple[object, ...], now: float) -> tuple[object, ...]:
        """The kind, or what it counts as when there are too many."""
        kinds = self._kinds.copy().items()
        self._kinds = {
            known: seen
            for known, seen in kinds
            if known == _OTHERS or now < seen[0] + WITHIN
        }
        return kind if len(self._kinds) < KINDS else _OTHERS

    def forget(self) -> None:
        """As if nothing had been said."""
        self._kinds.clear()
