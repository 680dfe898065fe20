"""
Announcing: a log line that comes again and again is bounded, and its end is said.

Of each kind, the first few lines of a minute are logged and the others are counted; a
trouble that lasts is logged once, again every few minutes, and once when it is over.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

CALM = 2.0  # Seconds without a trouble that came and went, and it is over.


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is logged; times are in seconds."""

    most: int = 5  # Lines of one kind
    within: float = 60.0  # in so much time; the others are counted.
    kinds: int = 100  # Told apart; when more come in that time, all others are one.
    remind_after: float = 300.0  # Of a trouble that lasts.


@dataclass(slots=True)
class _Kind:
    since: float  # When its minute began, or the trouble,
    count: int = 0  # and how often it came since.
    last: float = 0.0  # When it was there last,
    said_at: float | None = None  # and when that was logged.


class Announcer:
    """Logs for one part of the program; a kind is a text, or a tuple of what varies."""

    def __init__(
        self,
        logger: logging.Logger,
        *,
        limits: Limits = Limits(),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._limits = limits
        self._monotonic = monotonic
        self._kinds: dict[Hashable, _Kind] = {}

    def log(
        self, level: int, kind: Hashable, text: str, *args: object, **more: Any
    ) -> None:
        """Log the first lines of this kind; say with a later one how many were not."""
        now = self._monotonic()
        with _lock:
            known = self._known(kind, now)
            left_out = 0
            if now >= known.since + self._limits.within:
                left_out = max(0, known.count - self._limits.most)
                known.since, known.count = now, 0
            known.count += 1
            known.said_at = known.last = now
            is_heard = known.count <= self._limits.most
        if is_heard:
            if left_out:
                text += " (%d more like it were not logged)"
                args = (*args, left_out)
            self._logger.log(level, text, *args, **more)

    def info(self, kind: Hashable, text: str, *args: object, **more: Any) -> None:
        """Log good news, within the limits."""
        self.log(logging.INFO, kind, text, *args, **more)

    def warning(self, kind: Hashable, text: str, *args: object, **more: Any) -> None:
        """Log a trouble, within the limits."""
        self.log(logging.WARNING, kind, text, *args, **more)

    def error(self, kind: Hashable, text: str, *args: object, **more: Any) -> None:
        """Log a failure, within the limits."""
        self.log(logging.ERROR, kind, text, *args, **more)

    def once(
        self,
        kind: Hashable,
        text: str,
        *args: object,
        after: float = 0.0,
        **more: Any,
    ) -> int:
        """
        Log a trouble that lasts: once, and again every few minutes until it is over.

        ``after`` is for how long it may last before it is worth a line. Says how often
        it has come by now.
        """
        now = self._monotonic()
        with _lock:
            known = self._known(kind, now)
            known.count, known.last = known.count + 1, now
            said = known.said_at
            is_due = said is None or now >= said + self._limits.remind_after
            is_heard = is_due and now >= known.since + after
            if is_heard:
                known.said_at = now
        if is_heard:
            self._logger.warning(text, *args, **more)
        return known.count

    def over(
        self,
        kind: Hashable,
        text: str,
        *args: object,
        calm: float = 0.0,
        **more: Any,
    ) -> None:
        """
        Say that a trouble has ended, if it was logged; nothing to do otherwise.

        ``calm`` is for how long it must have been away: what fails every second time is
        not over.
        """
        if kind not in self._kinds:
            return
        with _lock:
            known = self._kinds.get(kind)
            if known is None or self._monotonic() < known.last + calm:
                return
            del self._kinds[kind]
        if known.said_at is not None:
            self._logger.info(text, *args, **more)

    def all_over(self, text: str, *args: object) -> None:
        """Say once that every trouble has ended, if one was logged."""
        with _lock:
            known, self._kinds = self._kinds, {}
        if any(each.said_at is not None for each in known.values()):
            self._logger.info(text, *args)

    def forget(self) -> None:
        """As if nothing had been said."""
        with _lock:
            self._kinds.clear()

    def _known(self, kind: Hashable, now: float) -> _Kind:
        if kind not in self._kinds and len(self._kinds) >= self._limits.kinds:
            self._make_room(now)
            if len(self._kinds) >= self._limits.kinds:
                kind = _OTHERS
        return self._kinds.setdefault(kind, _Kind(now))

    def _make_room(self, now: float) -> None:
        """Forget what was not there of late."""
        for kind, known in list(self._kinds.items()):
            if kind is not _OTHERS and now >= known.last + self._limits.within:
                del self._kinds[kind]


def _forked() -> None:
    global _lock
    _lock = threading.Lock()  # Another thread of the parent may have held it.


_OTHERS = object()
# One for all announcers: held for a moment, and never while something is logged.
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
