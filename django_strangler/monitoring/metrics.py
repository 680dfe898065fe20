"""Metrics for Prometheus. The only module that imports prometheus_client."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import accumulate
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from django.db import Error, connections, router
from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from django_strangler import signals
from django_strangler.brokers import Broker, Outgoing
from django_strangler.brokers.base import Source
from django_strangler.feature_flags import evaluation
from django_strangler.inbox import handling
from django_strangler.inbox.consumer import Consumer
from django_strangler.outbox import insertion
from django_strangler.outbox.models import OutboxEvent
from django_strangler.outbox.relay import Relay
from django_strangler.outbox.timeouts import own_connection

from .recent import recent
from .state import COUNTED, State

LOOK_EVERY = 5.0  # Seconds: so seldom, at most, the database is asked.
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600)


class Tally:
    """Counts what relays of this process tell by signals."""

    def __init__(self) -> None:
        self.confirmed = 0
        self.parked: Counter[str] = Counter()
        self.took = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0
        self.host_ahead = 0.0  # Events are published by the database's clock.

    def listen(self) -> None:
        """From now on."""
        signals.events_confirmed.connect(self._confirmed, weak=False)
        signals.events_parked.connect(self._parked, weak=False)

    def ignore(self) -> None:
        """Listen no more."""
        signals.events_confirmed.disconnect(self._confirmed)
        signals.events_parked.disconnect(self._parked)

    def _confirmed(self, sender: object, events: Sequence[Outgoing], **_: Any) -> None:
        now, took = time.time() - self.host_ahead, self.took
        for event in events:
            seconds = max(0.0, now - event.published_at.timestamp())
            took[bisect_left(BUCKETS, seconds)] += 1
            self.seconds += seconds
        self.confirmed += len(events)

    def _parked(
        self, sender: object, events: Sequence[Outgoing], reason: str, **_: Any
    ) -> None:
        self.parked[reason] += len(events)


class StranglerCollector(Collector):
    """
    What the database knows, and what this process has counted, when it is scraped.

    Register one in a web process: ``REGISTRY.register(StranglerCollector())``.
    """

    def __init__(
        self,
        databases: Iterable[str] | None = None,  # That of the outbox.
        *,
        relays: Sequence[Relay] = (),
        consumer: Consumer | None = None,
        tally: Tally | None = None,
    ) -> None:
        self._databases = _outbox() if databases is None else tuple(databases)
        self._relays = relays  # May still grow.
        self._consumer = consumer
        self._tally = tally

    def describe(self) -> list[Metric]:
        """Nothing: to be registered must cost no query."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        yield from self._of_the_database()
        yield from _of_any_process()
        if self._tally is not None:
            yield from _of_relays(self._tally, self._relays)
            yield from _of_links([relay.broker for relay in self._relays])
        if self._consumer is not None:
            yield from _of_consumer(self._consumer)
            yield from _of_links([self._consumer.source])

    def _of_the_database(self) -> Iterator[Metric]:
        up: dict[Any, float] = {}
        found: dict[str, dict[Any, float]] = {name: {} for name in _STATE}
        for alias in self._databases:
            try:
                state = recent(alias, seconds=LOOK_EVERY)
            except Error:
                connections[alias].close_if_unusable_or_obsolete()
                up[alias,] = 0
                continue
            up[alias,] = 1
            if self._tally is not None:
                self._tally.host_ahead = state.host_ahead
            for name, values in _values(state).items():
                found[name].update({(alias, *key): n for key, n in values.items()})
        yield _gauge("up", "The database answers.", _DATABASE, up)
        for name, (text, *labels) in _STATE.items():
            yield _gauge(name, text, [*_DATABASE, *labels], found[name])


class _Quiet(WSGIRequestHandler):
    timeout = 10.0  # Seconds, for a client that asks nothing.

    def log_message(self, *args: Any) -> None:
        """Scrapes are no news."""


def serve(
    port: int,
    *,
    databases: Iterable[str] = (),
    relays: Sequence[Relay] | None = None,
    consumer: Consumer | None = None,
) -> Callable[[], None]:
    """Serve on this port, on a thread of its own; returns how to end that."""
    aliases = tuple(databases) or _outbox()
    tally = None if relays is None else Tally()
    registry = CollectorRegistry(auto_describe=True)
    registry.register(
        StranglerCollector(
            aliases,
            relays=() if relays is None else relays,
            consumer=consumer,
            tally=tally,
        )
    )
    ProcessCollector(registry=registry)
    metrics = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start: Any) -> Any:
        for alias in aliases:
            with suppress(Error):  # The collector tells it.
                connections[alias].ensure_connection()  # One that stays open.
        return metrics(environ, start)

    server = make_server("", port, answer, handler_class=_Quiet)

    def work() -> None:
        with ExitStack() as stack:
            for alias in aliases:
                stack.enter_context(own_connection(connections[alias]))
            server.serve_forever(poll_interval=0.1)

    threading.Thread(target=work, name="strangler-metrics", daemon=True).start()
    if tally is not None:
        tally.listen()

    def close() -> None:
        # Elsewhere: it waits for a scrape, and that perhaps for a database that hangs.
        stopping = threading.Thread(target=server.shutdown, daemon=True)
        stopping.start()
        stopping.join(1.0)
        server.server_close()
        if tally is not None:
            tally.ignore()

    return close


def _outbox() -> tuple[str, ...]:
    return (str(router.db_for_write(OutboxEvent)),)


_DATABASE = ["database"]
_STATE = {  # What a look tells: the text, and labels beside the database's.
    "pending_events": (f"Not confirmed, not parked; counted up to {COUNTED}.",),
    "oldest_due_seconds": ("For how long the oldest due event has waited.",),
    "parked_events": (f"Set aside, by reason; counted up to {COUNTED}.", "reason"),
    "live_relays": ("Relays that hold their lease.",),
    "held_lanes": ("Lanes that live relays hold; 32 are all.",),
    "live_consumers": ("Consumers, by queue.", "queue"),
}


def _values(state: State) -> dict[str, Mapping[Any, float]]:
    parked: Counter[Any] = Counter()
    for each in state.parked:
        parked[each.reason,] += each.count
    # With those that were seen before: 0 is what an alert waits for.
    consumers = {(each.queue,): 0.0 for each in state.consumers}
    for consumer in state.live_consumers:
        consumers[consumer.queue,] += 1
    live = state.live_relays
    return {
        "pending_events": {(): state.pending},
        "oldest_due_seconds": {(): state.oldest_due or 0.0},
        "parked_events": parked,
        "live_relays": {(): len(live)},
        "held_lanes": {(): sum(relay.lanes for relay in live)},
        "live_consumers": consumers,
    }


def _family(
    kind: Any,
    name: str,
    text: str,
    labels: Sequence[str],
    values: Mapping[Any, float],  # By tuples of what the labels are.
) -> Metric:
    family: Metric = kind(f"strangler_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)  # type: ignore[attr-defined]
    return family


_counter = partial(_family, CounterMetricFamily)
_gauge = partial(_family, GaugeMetricFamily)


def _of_any_process() -> Iterator[Metric]:
    text = "Written to the outbox by this process, rolled back later or not."
    yield _counter("events_published", text, [], {(): insertion.written})
    calls, decisions = handling.counts.copy(), evaluation.counts()
    text = "handled, duplicate or failed."
    yield _counter("subscriber_calls", text, ["subscriber", "outcome"], calls)
    yield _counter(
        "flag_decisions", "on, off or default.", ["flag", "outcome"], decisions
    )


def _of_relays(tally: Tally, relays: Sequence[Relay]) -> Iterator[Metric]:
    parked = {(reason,): count for reason, count in tally.parked.copy().items()}
    totals = [relay.totals for relay in relays]
    failures = {
        ("rejected",): sum(each.retried for each in totals),
        ("unknown",): sum(each.unknown for each in totals),
    }
    yield _counter("events_confirmed", "By the broker.", [], {(): tally.confirmed})
    yield _counter("events_parked", "Set aside, by reason.", ["reason"], parked)
    text = "rejected: tried again later; unknown: not the event's fault, sent again."
    yield _counter("failures", text, ["kind"], failures)
    counts = list(accumulate(tally.took))
    limits = [*(str(float(each)) for each in BUCKETS), "+Inf"]
    yield HistogramMetricFamily(
        "strangler_publish_to_confirm_seconds",
        "From publishing to the broker's confirm, by the database's clock.",
        buckets=list(zip(limits, counts, strict=True)),
        sum_value=tally.seconds,
    )


def _of_consumer(consumer: Consumer) -> Iterator[Metric]:
    totals = consumer.totals
    counts = {
        ("handled",): totals.handled,
        ("retried",): totals.retried,
        ("dead",): totals.dead,
    }
    yield _counter("deliveries", "handled, retried or dead.", ["outcome"], counts)


def _of_links(links: Sequence[Broker | Source]) -> Iterator[Metric]:
    if not links:
        return
    # What blocks is connected, and says so.
    blocked = any(link.trouble.startswith("blocked") for link in links)
    connected = blocked or all(link.ready for link in links)
    yield _gauge("broker_connected", "The broker is connected.", [], {(): connected})
    yield _gauge("broker_blocked", "The broker takes nothing.", [], {(): blocked})
