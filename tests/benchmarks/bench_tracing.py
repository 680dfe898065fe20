"""
What tracing costs a relay, per event.

    python -m tests.benchmarks.bench_tracing [--events 20000] [--rounds 5]

A relay drains events of 10,000 keys from PostgreSQL to a quorum queue of RabbitMQ, all
on this machine, from the first event to the last mark. Every event was published inside
a sampled trace. Three ways take turns, each time in a process of its own:

    bypassed   the package's calls into tracing.py do nothing
    no SDK     as it is, with OpenTelemetry's API alone
    recording  the SDK, a batch processor, and an exporter that throws the spans away

Medians count. Beside it stands what the SDK's own start_span() and end() take, with the
same attributes and the same processor and nothing else going on: no less is possible.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from typing import Any

import django

KEYS = 10_000
WAYS = ("bypassed", "no SDK", "recording")
BARS = {"no SDK": 0.05, "recording": 0.25}


# One way, in a process of its own.


def bypass() -> None:
    from django_strangler import tracing

    tracing.producer = lambda *given: None  # type: ignore[assignment]
    tracing.sending = lambda *given: nullcontext()  # type: ignore[assignment]
    tracing.untraced = lambda: nullcontext()  # type: ignore[assignment]


def record() -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import (
        BatchSpanProcessor,
        SpanExporter,
        SpanExportResult,
    )

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    trace.set_tracer_provider(provider)


def publish(events: int) -> None:
    """Each in a sampled trace of its own, as if as many views had done it."""
    from django.db import connection, transaction

    from django_strangler import publish_events
    from django_strangler.events import Event
    from django_strangler.models import OutboxEvent

    for start in range(0, events, 5000):
        with transaction.atomic():
            publish_events(
                [
                    Event(
                        type="payment.completed",
                        payload={"note": "x" * 284},
                        key=f"payments.payment:{number % KEYS}",
                    )
                    for number in range(start, min(start + 5000, events))
                ]
            )
    table = OutboxEvent._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET headers = jsonb_build_object('traceparent', "
            "'00-' || md5(id::text) || '-' || left(md5(id::text), 16) || '-01')"
        )
        cursor.execute(f"VACUUM FULL ANALYZE {table}")


def drain(url: str, events: int) -> tuple[float, float]:
    """Seconds, and seconds of processor of all threads here, per event."""
    from django_strangler.conf import Settings
    from django_strangler.outbox.relay import Relay
    from tests.benchmarks.bench_broker import EXCHANGE

    relay = Relay(settings=Settings(broker_url=(url,), exchange=EXCHANGE))
    relay.broker.open()
    while not relay.broker.ready:
        relay.broker.outcomes(0.1)
    ended: list[float] = []

    def watch(totals: Any) -> None:
        if totals.confirmed >= events and not ended:
            ended.extend((time.perf_counter(), time.process_time()))
            relay.stop.set()

    relay.on_progress = watch
    began, used = time.perf_counter(), time.process_time()
    relay.run()
    assert relay.totals.confirmed == events, relay.totals
    return (ended[0] - began) / events, (ended[1] - used) / events


def run_one(way: str, events: int) -> None:
    django.setup()
    {"bypassed": bypass, "no SDK": bool, "recording": record}[way]()
    assert way == "recording" or "opentelemetry.sdk" not in sys.modules
    publish(events)
    print(json.dumps(drain(os.environ["BROKER_URL"], events)))


def bare_span(count: int = 20_000) -> float:
    """Seconds of start_span() and end(), and nothing else."""
    from opentelemetry import trace

    record()
    tracer = trace.get_tracer("bench")
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    parent = trace.set_span_in_context(
        trace.NonRecordingSpan(trace.SpanContext(5, 6, True, flags))
    )
    attributes = {f"messaging.attribute.{n}": "some value" for n in range(8)}
    began = time.perf_counter()
    for _ in range(count):
        tracer.start_span(
            "publish",
            context=parent,
            kind=trace.SpanKind.PRODUCER,
            attributes=attributes,
        ).end()
    return (time.perf_counter() - began) / count


# All of them.


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    os.environ["DEBUG"] = "0"
    if options.way:
        run_one(options.way, options.events)
        return 0
    django.setup()
    from tests.benchmarks import bench_broker
    from tests.benchmarks.servers import servers
    from tests.services.databases import database_url
    from tests.services.services import KINDS

    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with servers() as (services, databases):
        url = services.get(KINDS["rabbitmq"]).url
        for turn in range(options.rounds):
            # Whoever comes first in a round is not always the same.
            for way in WAYS[turn % 3 :] + WAYS[: turn % 3]:
                bench_broker.prepare(url)
                with databases.fresh("postgresql") as alias:
                    place = {"DATABASE_URL": database_url(alias), "BROKER_URL": url}
                    told = subprocess.run(
                        [
                            *(sys.executable, "-m", "tests.benchmarks.bench_tracing"),
                            *("--way", way, "--events", str(options.events)),
                        ],
                        env={**os.environ, **place},
                        stdout=subprocess.PIPE,
                        check=True,
                    ).stdout
                found[way].append(tuple(json.loads(told)))
        bench_broker.clean_up(url)
    medians = {
        way: [1e6 * statistics.median(column) for column in zip(*rounds, strict=True)]
        for way, rounds in found.items()
    }
    base = medians[WAYS[0]]
    missed = False
    for way, (wall, used) in medians.items():
        bar = BARS.get(way, 0.0)
        is_missed = wall / base[0] - 1 > bar
        missed = missed or is_missed
        print(
            f"{way:10} {wall:6.1f} µs an event ({wall / base[0] - 1:+4.0%}; bar "
            f"{bar:+.0%}), {used:6.1f} µs of processor ({used / base[1] - 1:+4.0%})"
            f"{'  MISSED' if is_missed else ''}   "
            f"({' '.join(f'{1e6 * each[0]:.0f}' for each in found[way])})"
        )
    print(f"{'bare span':10} {1e6 * bare_span():6.1f} µs, in the SDK alone")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
