"""What the relays of a process do, counted by their signals."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from django_strangler import counting, signals
from django_strangler.brokers import Outgoing

BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)

confirmed = counting.counter("events_confirmed", "By the broker.")
parked = counting.counter("events_parked", "Set aside, by reason.", ("reason",))
publish_to_confirm = counting.histogram(
    "publish_to_confirm_seconds",
    "From publishing to the broker's confirm, by the database's clock.",
    buckets=BUCKETS,
)


class Tally:
    """Counts what relays of this process tell by signals."""

    def __init__(self) -> None:
        self.host_ahead = 0.0  # Events are published by the database's clock.

    def listen(self) -> None:
        """Count from now on."""
        signals.events_confirmed.connect(self._confirmed, weak=False)
        signals.events_parked.connect(self._parked, weak=False)

    def ignore(self) -> None:
        """Count no more."""
        signals.events_confirmed.disconnect(self._confirmed)
        signals.events_parked.disconnect(self._parked)

    def _confirmed(self, sender: object, events: Sequence[Outgoing], **_: Any) -> None:
        now = time.time() - self.host_ahead
        took = [max(0.0, now - event.published_at.timestamp()) for event in events]
        publish_to_confirm.observe_many((), took)
        confirmed.add(n=len(events))

    def _parked(
        self, sender: object, events: Sequence[Outgoing], reason: str, **_: Any
    ) -> None:
        parked.add(reason, n=len(events))
