"""Metrics for Prometheus. The only module that imports prometheus_client."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, cast

from django.db import Error, connections
from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from django_strangler import counting
from django_strangler.announcing import Announcer
from django_strangler.brokers.base import Connected
from django_strangler.databases import own_connection
from django_strangler.feature_flags import evaluation
from django_strangler.inbox import handling
from django_strangler.inbox.consumer import Consumer
from django_strangler.outbox import insertion
from django_strangler.outbox.models import Pause, outbox_alias
from django_strangler.outbox.relay import Relay

from . import letters  # noqa: F401  (Its gauge.)
from .recent import recent
from .scrapes import ScrapeServer
from .state import COUNTED, State

if TYPE_CHECKING:
    from .tally import Tally

logger = logging.getLogger("django_strangler.monitoring")
_trouble = Announcer(logger)

LOOK_EVERY = 5.0  # Seconds: so seldom, at most, the database is asked.


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
        own: bool = False,  # Look over connections of its own, which notice silence.
    ) -> None:
        self._databases = (outbox_alias(),) if databases is None else tuple(databases)
        self._relays = relays  # May still grow.
        self._consumer = consumer
        self._tally = tally
        self._own = own

    def describe(self) -> list[Metric]:
        """Nothing: to be registered must cost no query."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        yield from self._of_the_database()
        yield from _counted()
        if self._tally is not None:
            yield from _of_relays(self._relays)
            yield from _of_links([relay.broker for relay in self._relays])
        if self._consumer is not None:
            yield from _of_consumer(self._consumer)
            yield from _of_links([self._consumer.source])

    def _of_the_database(self) -> Iterator[Metric]:
        up: dict[Any, float] = {}
        found: dict[str, dict[Any, float]] = {name: {} for name in _STATE}
        for alias in self._databases:
            try:
                with self._connected(alias):
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

    def _connected(self, alias: str) -> AbstractContextManager[None]:
        return own_connection(connections[alias]) if self._own else nullcontext()


def serve(
    port: int,
    host: str = "127.0.0.1",
    *,
    databases: Iterable[str] = (),
    relays: Sequence[Relay] | None = None,
    consumer: Consumer | None = None,
) -> Callable[[], None]:
    """Serve on this port, on threads of its own; returns how to end that."""
    tally = None
    if relays is not None:
        from .tally import Tally  # Elsewhere its counters would show nothing but 0.

        tally = Tally()
    registry = CollectorRegistry(auto_describe=True)
    registry.register(
        StranglerCollector(
            tuple(databases) or None,
            relays=() if relays is None else relays,
            consumer=consumer,
            tally=tally,
            own=True,
        )
    )
    ProcessCollector(registry=registry)
    server = ScrapeServer(host, port, make_wsgi_app(registry))
    server.start()
    if tally is not None:
        tally.listen()

    def close() -> None:
        if tally is not None:
            tally.ignore()
        server.stop()

    return close


_DATABASE = ["database"]
_STATE = {  # What a look tells: the text, and labels beside the database's.
    "pending_events": (f"Not confirmed, not parked; counted up to {COUNTED}.",),
    "oldest_due_seconds": ("For how long the oldest due event has waited.",),
    "parked_events": (f"Set aside, by reason; counted up to {COUNTED}.", "reason"),
    "held_seconds": (
        "For how long a type has been held, by why; at most 200.",
        "type",
        "cause",
    ),
    "active_pauses": ("What people have paused, by what it is.", "scope"),
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
    pauses: Counter[Any] = Counter({(scope,): 0 for scope in Pause.Scope.values})
    pauses.update((each.scope,) for each in state.paused)
    return {
        "pending_events": {(): state.pending},
        "oldest_due_seconds": {(): state.oldest_due or 0.0},
        "parked_events": parked,
        "held_seconds": {(each.type, each.cause): each.age for each in state.held},
        "active_pauses": pauses,
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


# Shown from the start, also where nothing of the kind has happened yet.
_ALWAYS = (insertion.published, handling.calls, evaluation.decisions)


def _counted() -> Iterator[Metric]:
    """What this process has counted, by all of its modules that are loaded."""
    for name, metric in counting.registered().items():
        try:
            yield _shown(metric)
        except Exception as error:  # noqa: BLE001  One gauge must not end a scrape.
            _trouble.warning(name, "The metric %r cannot be read: %r", name, error)


def _shown(metric: counting.Metric) -> Metric:
    if isinstance(metric, counting.Histogram):
        family = HistogramMetricFamily(
            f"strangler_{metric.name}", metric.text, labels=metric.labels
        )
        limits = [*(str(float(each)) for each in metric.buckets), "+Inf"]
        for labels, (counts, total) in metric.values().items():
            buckets = list(zip(limits, accumulate(counts), strict=True))
            family.add_metric(labels, buckets, sum_value=total)
        return family
    make = _counter if isinstance(metric, counting.Counter) else _gauge
    values = cast("counting.Counter | counting.Gauge", metric).values()
    return make(metric.name, metric.text, metric.labels, values)


def _of_relays(relays: Sequence[Relay]) -> Iterator[Metric]:
    totals = [relay.totals for relay in relays]
    failures = {
        ("rejected",): sum(each.retried for each in totals),
        ("unknown",): sum(each.unknown for each in totals),
    }
    text = "rejected: tried again later; unknown: not the event's fault, sent again."
    yield _counter("failures", text, ["kind"], failures)


def _of_consumer(consumer: Consumer) -> Iterator[Metric]:
    totals = consumer.totals
    counts = {
        ("handled",): totals.handled,
        ("retried",): totals.retried,
        ("dead",): totals.dead,
    }
    yield _counter("deliveries", "handled, retried or dead.", ["outcome"], counts)


def _of_links(links: Sequence[Connected]) -> Iterator[Metric]:
    if not links:
        return
    blocked = any(link.is_blocked for link in links)
    connected = blocked or all(link.ready for link in links)
    yield _gauge("broker_connected", "The broker is connected.", [], {(): connected})
    yield _gauge("broker_blocked", "The broker takes nothing.", [], {(): blocked})
