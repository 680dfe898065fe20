"""
What tracing costs a relay, per event.

    python -m tests.benchmarks.bench_tracing [--events 10000] [--rounds 3]

A relay drains the same events, published inside a span, from PostgreSQL to RabbitMQ:
with no SDK, and recording every span into a batch processor whose exporter does
nothing. They take turns, and medians count. The servers are those of the tests.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from typing import Any

import django
import pika
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SpanExporter,
    SpanExportResult,
)

QUEUE = EXCHANGE = "strangler-bench-tracing"


class Nowhere(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def fill(alias: str, events: int) -> None:
    from django.db import transaction

    from django_strangler import publish_events
    from django_strangler.events import Event
    from django_strangler.models import OutboxEvent

    OutboxEvent.objects.using(alias).all().delete()
    headers = {"traceparent": f"00-{5:032x}-{6:016x}-01"}
    with transaction.atomic(using=alias):
        publish_events(
            [
                Event(type="payment.completed", payload={"n": n, "note": "x" * 250})
                for n in range(events)
            ],
            using=alias,
        )
        # Headers of tracing are nobody's to give.
        OutboxEvent.objects.using(alias).update(headers=headers)


def drain(alias: str, settings: Any) -> tuple[float, float]:
    """Seconds and processor seconds."""
    from django_strangler.outbox.relay import Relay

    relay = Relay(alias, settings=settings, steady=False)
    began, used = time.perf_counter(), time.process_time()
    relay.drain()
    return time.perf_counter() - began, time.process_time() - used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    os.environ["DEBUG"] = "0"
    django.setup()

    from django.db import connections

    from django_strangler.conf import Settings
    from tests.services.databases import Databases
    from tests.services.services import KINDS, Services

    services = Services()
    databases = Databases(services)
    provider = TracerProvider()
    provider.add_span_processor(
        BatchSpanProcessor(Nowhere(), max_queue_size=100_000, max_export_batch_size=512)
    )
    without = trace.get_tracer_provider()
    ways = {"no SDK": without, "recording": provider}
    try:
        url = services.get(KINDS["rabbitmq"]).url
        connection = pika.BlockingConnection(pika.URLParameters(url))
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, "topic", durable=True)
        quorum = {"x-queue-type": "quorum"}
        channel.queue_declare(QUEUE, durable=True, arguments=quorum)
        channel.queue_bind(QUEUE, EXCHANGE, "#")
        connection.close()
        settings = Settings(broker_url=(url,), exchange=EXCHANGE)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        with databases.fresh("postgresql") as alias:
            for _ in range(options.rounds):
                for name, chosen in ways.items():
                    trace.get_tracer_provider = lambda chosen=chosen: chosen
                    fill(alias, options.events)
                    found[name].append(drain(alias, settings))
            connections.close_all()
        base: tuple[float, float] | None = None
        for name, rounds in found.items():
            seconds = statistics.median(each[0] for each in rounds) / options.events
            used = statistics.median(each[1] for each in rounds) / options.events
            base = base or (seconds, used)
            print(
                f"{name:10} {1e6 * seconds:6.1f} µs an event "
                f"({seconds / base[0] - 1:+.0%}), of which {1e6 * used:5.1f} µs "
                f"of processor ({used / base[1] - 1:+.0%})"
            )
    finally:
        provider.shutdown()
        databases.close()
        services.close()


if __name__ == "__main__":
    main()
