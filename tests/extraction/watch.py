"""Somebody who looks at the books now and then, and notes what has changed."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timezone
from typing import Any

import psycopg

from .history import History
from .stage import Stage

PAUSE = 0.5  # Seconds.
FLAGS = "SELECT name, percentage::float, enabled, ramp FROM strangler_flag"
PENDING = (
    "SELECT count(*) AS n FROM strangler_outboxevent "
    "WHERE confirmed_at IS NULL AND parked_at IS NULL"
)


class Watch:
    """Flags as they change, between when and when; and how many events wait."""

    def __init__(self, stage: Stage, history: History) -> None:
        self._stage, self._history = stage, history
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._is_over.set()
        self._thread.join(30)

    def _run(self) -> None:
        known: dict[str, tuple[float, bool]] = {}
        looked = time.time()
        while not self._is_over.wait(PAUSE):
            began = time.time()
            try:
                with psycopg.connect(
                    self._stage.urls["legacy"], autocommit=True, connect_timeout=2
                ) as connection:
                    flags = connection.execute(FLAGS).fetchall()
                    pending = connection.execute(PENDING).fetchall()[0][0]
            except psycopg.Error:
                continue  # Somebody is just restarting it.
            now = time.time()
            for name, set_to, enabled, ramp in flags:
                percentage = share(set_to, ramp)
                if known.get(name) != (percentage, enabled):
                    known[name] = percentage, enabled
                    self._history.flags.append(
                        {
                            "name": name,
                            "percentage": percentage,
                            "enabled": enabled,
                            "at": looked,
                            "until": now,
                        }
                    )
            self._history.lags.append({"at": now, "pending": pending})
            looked = began


def share(percentage: float, ramp: Any) -> float:
    """Whom a flag lets in now, its ramp included; said once more, without its code."""
    if ramp is None:
        return percentage
    now = datetime.now(timezone.utc).isoformat()
    moment = min(now, ramp["held_at"] or now)
    reached = [
        float(to)
        for at, to in ramp["steps"][: ramp.get("opened")]
        if datetime.fromisoformat(at) <= datetime.fromisoformat(moment)
    ]
    return reached[-1] if reached else percentage
