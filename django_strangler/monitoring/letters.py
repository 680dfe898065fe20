"""How many dead letters there are: asked at the broker, without a long wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from django.db import Error, router

from django_strangler import conf, counting
from django_strangler.brokers import broker_class, dead_letters
from django_strangler.exceptions import StranglerError
from django_strangler.inbox.dead_letters import LetterSelection, letters
from django_strangler.outbox.models import OutboxEvent

from .recent import recent

OFTEN = 10.0  # Seconds between two looks, whoever asks.
READ = 1_000  # Letters among which one event is looked for.
PATIENCE = 1.0  # Seconds that the first who asks waits for an answer.


class Look:
    """What was seen last, and a thread that looks again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: tuple[object, ...] = ()
        self._at = float("-inf")
        self._counts: Mapping[str, int] | None = None
        self._done = threading.Event()

    def counts(
        self,
        queues: Iterable[str],
        settings: conf.Settings,
        *,
        seconds: float = OFTEN,
        patience: float = PATIENCE,
    ) -> Mapping[str, int] | None:
        """By work queue; None: the broker has not answered, or has no such thing."""
        names = tuple(sorted(set(queues)))
        letters = broker_class(settings.broker_url).dead_letters
        if letters is None or not names:
            return None if letters is None else MappingProxyType({})
        asked = (settings.broker_url, names)
        with self._lock:
            now = time.monotonic()
            if asked != self._asked or now >= self._at + seconds:
                if asked != self._asked:
                    self._counts = None
                self._asked, self._at = asked, now
                done = self._done = threading.Event()
                threading.Thread(
                    target=self._look,
                    args=(letters.counts, settings, asked, done),
                    name="strangler-dead-letters",
                    daemon=True,
                ).start()
            done, known = self._done, self._counts
        if known is None:
            done.wait(patience)
            known = self._counts
        return known

    def _look(
        self, look: Any, settings: conf.Settings, asked: Any, done: threading.Event
    ) -> None:
        found = None
        try:
            with suppress(StranglerError):  # The doctor says why.
                found = look(settings.broker_url, settings, asked[1])
        finally:
            with self._lock:
                if asked == self._asked:
                    self._counts = found
            done.set()


class Found(NamedTuple):
    """An event among the dead letters."""

    queue: str
    error: str
    times: int
    last: datetime | None


def of_event(
    event_id: UUID,
    known: Mapping[str, int],
    settings: conf.Settings,
    *,
    patience: float = PATIENCE,
) -> list[Found]:
    """Where this event is a dead letter, as far as that is found in time."""
    found: list[Found] = []
    queues = [name for name, count in known.items() if 0 < count <= READ]
    if queues:
        # On a thread, because a broker that is away lets the page wait otherwise.
        work = threading.Thread(
            target=_search, args=(event_id, queues, settings, found), daemon=True
        )
        work.start()
        work.join(patience)
    return list(found)


def _search(
    event_id: UUID, queues: list[str], settings: conf.Settings, found: list[Found]
) -> None:
    chosen = LetterSelection(names=frozenset({str(event_id)}))
    for name in queues:
        with (
            suppress(StranglerError),  # The doctor says why.
            closing(dead_letters(settings, name)) as queue,
        ):
            for letter in letters(queue, chosen):
                error = f"{letter.reason}: {letter.error}"
                found.append(Found(name, error, letter.times, letter.last))


def dead_letter_counts() -> Mapping[tuple[str, ...], float]:
    """For the metric: what was seen last, by queue."""
    try:
        state = recent(str(router.db_for_write(OutboxEvent)), seconds=OFTEN)
    except Error:
        return {}
    queues = [each.queue for each in state.consumers]
    known = look.counts(queues, conf.current(), patience=0.0)
    return {(queue,): float(count) for queue, count in (known or {}).items()}


look = Look()
counts = look.counts
counting.gauge(
    "dead_letters",
    "Deliveries that were given up on, by the queue that they came from.",
    labels=("queue",),
    read=dead_letter_counts,
)
