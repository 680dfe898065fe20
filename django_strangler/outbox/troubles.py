"""Saying once what is wrong, and once that it is over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

REMIND_AFTER = 300.0


class Trouble:
    """
    A trouble that comes and goes.

    It is over once it has been away for a while: what fails every second time must not
    fill the log.
    """

    def __init__(
        self,
        logger: logging.Logger,
        *,
        over: str,
        after: float = 0.0,
        calm: float = 2.0,
        fields: Mapping[str, object] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._over = over  # The line that says so.
        self._after = after  # Seconds that it may last before it is worth a line.
        self._calm = calm
        self._fields = fields  # For machines.
        self._monotonic = monotonic
        self._first = self._last = 0.0
        self._said_at: float | None = None
        self.count = 0  # In a row.

    def comes(self, text: str) -> None:
        """It is there: said once, and again every few minutes."""
        now = self._last = self._monotonic()
        if not self.count:
            self._first = now
        self.count += 1
        if now < self._first + self._after:
            return
        if self._said_at is None or now >= self._said_at + REMIND_AFTER:
            self._said_at = now
            self._logger.warning("%s", text, extra=self._fields)

    def is_away(self) -> None:
        """It is not there now."""
        if not self.count or self._monotonic() < self._last + self._calm:
            return
        if self._said_at is not None:
            self._logger.info("%s", self._over, extra=self._fields)
        self.count, self._said_at = 0, None
