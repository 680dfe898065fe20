"""
How fast a consumer is, beside one written by hand.

    python -m tests.benchmarks.bench_consumer [--events 5000] [--rounds 3]
    python -m tests.benchmarks.bench_consumer --memory 50000

Both read the same quorum queue with the same prefetch and write to the same PostgreSQL:
an inbox row and the subscriber's one row per event. The one by hand is what pika's and
psycopg's manuals add up to: a ``BlockingConnection``, two inserts, a commit and an
acknowledgement, one event after the other. They take turns, and medians count. The
servers are those of the tests.

``--memory`` says instead what one consumer occupies after 5,000 events and after those.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import django
import pika
import psycopg

PREFETCH = 50
QUEUE, EXCHANGE = "strangler-bench-consumer", "strangler-bench-consumer"
INBOX = (
    "INSERT INTO strangler_inboxentry (event_id, subscriber, event_type, handled_at) "
    "VALUES (%s, %s, %s, clock_timestamp()) ON CONFLICT DO NOTHING"
)
EFFECT = "INSERT INTO reporting_activity (day, type, count) VALUES (%s, %s, 0)"


def fill(url: str, events: int, *, keys: int) -> None:
    """So many events as a relay sends them, of so many keys; 0: none."""
    from django_strangler.conf import Settings

    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_purge(QUEUE)
    for number in range(events):
        id = str(uuid4())
        headers = {
            "traceparent": f"00-{number + 1:032x}-{number + 1:016x}-01",
            "strangler-published-at": "2026-01-01T00:00:00.000000+00:00",
        }
        if keys:
            headers["strangler-key"] = f"payments.payment:{number % keys}"
        channel.basic_publish(
            EXCHANGE,
            "payment.completed",
            json.dumps({"paymentId": number, "note": "x" * 200}).encode(),
            pika.BasicProperties(
                message_id=id,
                type="payment.completed",
                content_type="application/json",
                app_id=Settings().source,
                user_id=pika.URLParameters(url).credentials.username,
                headers=headers,
                delivery_mode=2,
            ),
        )
    while channel.queue_declare(QUEUE, passive=True).method.message_count < events:
        time.sleep(0.05)
    connection.close()


def by_hand(url: str, database: str, events: int) -> float:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.basic_qos(prefetch_count=PREFETCH)
    db = psycopg.connect(database)
    cursor = db.cursor()
    done = 0
    started = time.perf_counter()

    def handle(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        nonlocal done
        payload = json.loads(body)
        cursor.execute(INBOX, [properties.message_id, "bench", properties.type])
        if cursor.rowcount:
            cursor.execute(EFFECT, ["2026-01-01", f"{payload['paymentId']}-{uuid4()}"])
        db.commit()
        channel.basic_ack(method.delivery_tag)
        done += 1
        if done == events:
            channel.stop_consuming()

    channel.basic_consume(QUEUE, handle)
    channel.start_consuming()
    seconds = time.perf_counter() - started
    db.close()
    connection.close()
    return events / seconds


def ours(
    url: str, threads: int, events: int, seen: Callable[[int], None] = bool
) -> float:
    from django_strangler.brokers import make_source
    from django_strangler.brokers.base import WorkQueue
    from django_strangler.conf import Settings
    from django_strangler.inbox.consumer import Consumer

    settings = Settings(broker_url=(url,), exchange=EXCHANGE)
    queue = WorkQueue(name=QUEUE, patterns=("payment.*",), prefetch=PREFETCH)
    stop = threading.Event()
    consumer = Consumer(
        make_source(settings, queue), threads=threads, settings=settings, stop=stop
    )
    started = 0.0

    def watch() -> None:
        nonlocal started
        while not consumer.source.ready:
            time.sleep(0.0005)
        started = time.perf_counter()
        while (handled := consumer.totals.handled) < events:
            seen(handled)
            time.sleep(0.002)
        seen(handled)
        started = time.perf_counter() - started
        stop.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    consumer.run()
    watcher.join()
    return events / started


def resident() -> float:
    """MiB of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory(url: str, events: int, *, first: int = 5_000) -> int:
    """One consumer; what it occupies may not grow with what it has handled."""
    fill(url, events, keys=events)  # A key each: those are what it could keep.
    sizes: list[float] = []

    def watch(handled: int) -> None:
        if handled >= (first, events)[len(sizes)]:
            sizes.append(resident())
            print(f"after {handled:>7,} events {sizes[-1]:6.1f} MiB")

    ours(url, 4, events, watch)
    is_flat = sizes[1] < 1.05 * sizes[0]
    print(f"{sizes[1] / sizes[0]:.3f} x (bar: < 1.05){'' if is_flat else '  MISSED'}")
    return int(not is_flat)


def subscribe_one(alias: str) -> None:
    from django.db import connections

    from django_strangler.inbox.subscribers import Subscriber, registry

    def write(event: Any) -> None:
        number = event.payload["paymentId"]
        with connections[alias].cursor() as cursor:
            cursor.execute(EFFECT, ["2026-01-01", f"{number}-{uuid4()}"])

    registry._discovered = True
    registry._by_name.clear()
    registry.add(
        Subscriber(name="bench", patterns=("payment.*",), flag=None, handler=write)
    )


def prepare(url: str) -> None:
    from django_strangler.brokers.base import WorkQueue
    from django_strangler.brokers.rabbitmq import declare

    connection = pika.BlockingConnection(pika.URLParameters(url))
    queue = WorkQueue(name=QUEUE, patterns=("payment.*",))
    declare.prepare(connection, queue, EXCHANGE)
    connection.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--keys", type=int, default=1_000)
    parser.add_argument("--memory", type=int, metavar="EVENTS")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    os.environ["DEBUG"] = "0"
    django.setup()

    from django.db import connections, router

    from tests.benchmarks.servers import servers
    from tests.services.services import KINDS

    with servers() as (services, databases):
        url = services.get(KINDS["rabbitmq"]).url
        prepare(url)
        with databases.fresh("postgresql") as alias:
            router.db_for_write = lambda model, **hints: alias  # type: ignore[method-assign]
            subscribe_one(alias)
            if options.memory:
                return memory(url, options.memory)
            config = connections[alias].get_connection_params()
            names = ("host", "port", "user", "password", "dbname")
            database = " ".join(f"{n}={config[n]}" for n in names if config.get(n))
            ways: dict[str, Callable[[], float]] = {
                "by hand": lambda: by_hand(url, database, options.events)
            }
            for threads in options.threads:
                what = " (default)" if threads == 4 else ""
                ways[f"consume_events, {threads} threads{what}"] = (
                    lambda threads=threads: ours(url, threads, options.events)
                )
            rates: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(options.rounds):
                for name, way in ways.items():
                    fill(url, options.events, keys=options.keys)
                    rates[name].append(way())
            connections.close_all()
        base, missed = statistics.median(rates["by hand"]), False
        for name, found in rates.items():
            median = statistics.median(found)
            shown = " ".join(f"{rate:,.0f}" for rate in found)
            print(f"{name:36} {median:>7,.0f}/s  {median / base:5.2f} x   ({shown})")
            missed = missed or ("default" in name and median < 0.8 * base)
        return int(missed)


if __name__ == "__main__":
    sys.exit(main())
