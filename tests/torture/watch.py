"""Watches which events are pending, from outside, several times a second."""

from __future__ import annotations

import contextlib
import threading
import time

from .database import DUE, Database
from .history import Wait

INTERVAL = 0.25
AT_ONCE = 5000
LONG = 1.0  # Shorter waits are not worth a line.


class Watch(threading.Thread):
    """How long each event was seen pending, by the clock of the harness."""

    def __init__(self, database: Database, began: float) -> None:
        super().__init__(daemon=True, name="watch")
        self.waits: list[Wait] = []
        self._database, self._began = database, began
        self._seen: dict[int, tuple[float, str]] = {}
        self._ending = threading.Event()

    def run(self) -> None:
        while not self._ending.is_set():
            # While the database is away, nothing is known.
            with contextlib.suppress(Exception), self._database.session() as cursor:
                while not self._ending.wait(INTERVAL):
                    cursor.execute(
                        "SELECT o.id, o.type FROM strangler_outboxevent o "
                        f"WHERE {DUE} ORDER BY o.id LIMIT {AT_ONCE}",
                        (),
                    )
                    self._look(dict(cursor.fetchall()))
            self._ending.wait(INTERVAL)

    def finish(self) -> list[Wait]:
        self._ending.set()
        self.join(10)
        self._look({})
        return self.waits

    def _look(self, pending: dict[int, str]) -> None:
        now = time.monotonic() - self._began
        # Beyond a full page nothing is known: those are still waiting.
        known = max(pending) if len(pending) == AT_ONCE else None
        for row in [row for row in self._seen if row not in pending]:
            if known is not None and row > known:
                continue
            since, type = self._seen.pop(row)
            if now - since > LONG:
                self.waits.append(Wait(round(since, 2), round(now, 2), row, type))
        for row, type in pending.items():
            self._seen.setdefault(row, (now, type))
