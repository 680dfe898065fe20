"""
A relay from PostgreSQL to RabbitMQ, beside what teams write by hand.

    python -m tests.benchmarks.bench_rabbitmq [drain single far latency forbidden]

300-byte payloads, 10,000 keys, a quorum queue, all on one machine; the ways take turns
in one run, and medians count.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import django
import pika

EVENTS, KEYS, WINDOW = 20_000, 10_000, 1000
PAD = "x" * 284


@dataclass(frozen=True)
class Bench:
    """Where everything is."""

    alias: str
    url: str
    vhost: str
    rabbitmq: Any
    rounds: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", help="all of them by default")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from tests.benchmarks.servers import servers
    from tests.services.rabbitmq import RABBITMQ

    rows: list[tuple[str, str, float, float, bool]] = []
    with servers() as (services, databases):
        rabbitmq = services.get(RABBITMQ)
        with databases.fresh("postgresql") as alias:
            for name in options.scenarios or SCENARIOS:
                bench = Bench(alias, rabbitmq.url, "/", rabbitmq, options.rounds)
                rows += SCENARIOS[name](bench)
    print(f"\n{'what':<52} {'measured':>9} {'bar':>7}")
    for what, unit, measured, bar, is_met in rows:
        mark = "" if is_met else "  MISSED"
        print(f"{what:<52} {measured:>7.2f} {unit:<2} {bar:>5g}{mark}")
    return 0 if all(row[-1] for row in rows) else 1


# The ways


def publish(bench: Bench, count: int, keys: int, type_of: Callable[[int], str]) -> None:
    from django.db import connections, transaction

    from django_strangler import publish_events
    from django_strangler.events import Event
    from django_strangler.models import OutboxEvent

    connection = connections[bench.alias]
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {OutboxEvent._meta.db_table}")
    for start in range(0, count, 5000):
        with transaction.atomic(using=bench.alias):
            publish_events(
                [
                    Event(
                        type=type_of(number),
                        payload={"note": PAD},
                        key=f"payments.payment:{number % keys}",
                    )
                    for number in range(start, min(count, start + 5000))
                ],
                using=bench.alias,
            )
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM ANALYZE {OutboxEvent._meta.db_table}")


def settings(url: str, **changes: Any) -> Any:
    from django_strangler import conf
    from tests.benchmarks import bench_broker

    return replace(
        conf.Settings(),
        broker_url=(url,),
        exchange=bench_broker.EXCHANGE,
        relay=conf.RelaySettings(**{"window": WINDOW, **changes}),
    )


def completed(number: int) -> str:
    return "payment.completed"


def drain(
    bench: Bench,
    count: int,
    keys: int,
    *,
    url: str = "",
    type_of: Callable[[int], str] = completed,
    expected: int = 0,
    **changes: Any,
) -> float:
    """Events per second of one relay, from its first event to its last mark."""
    from django_strangler.outbox.relay import Relay

    publish(bench, count, keys, type_of)
    relay = Relay(bench.alias, settings=settings(url or bench.url, **changes))
    relay.broker.open()
    while not relay.broker.ready:
        relay.broker.outcomes(0.1)
    wanted = expected or count
    clock: dict[str, float] = {}

    def watch(totals: Any) -> None:
        if totals.confirmed >= wanted and "end" not in clock:
            clock["end"] = time.perf_counter()
            relay.stop.set()

    relay.on_progress = watch
    started = time.perf_counter()
    relay.run()
    assert relay.totals.confirmed >= wanted, relay.totals
    return wanted / (clock["end"] - started)


def by_hand(bench: Bench, count: int) -> float:
    """Lock 100, publish each with a confirm, update each."""
    from django.db import transaction

    from django_strangler.models import OutboxEvent
    from tests.benchmarks import bench_broker

    publish(bench, count, KEYS, completed)
    connection = pika.BlockingConnection(pika.URLParameters(bench.url))
    channel = connection.channel()
    channel.confirm_delivery()
    rows = OutboxEvent.objects.using(bench.alias)
    done, started = 0, time.perf_counter()
    while done < count:
        with transaction.atomic(using=bench.alias):
            locked = rows.select_for_update(skip_locked=True)
            for row in locked.filter(confirmed_at=None).order_by("id")[:100]:
                channel.basic_publish(
                    bench_broker.EXCHANGE,
                    row.type,
                    row.body.encode(),
                    pika.BasicProperties(
                        message_id=str(row.event_id), delivery_mode=2, type=row.type
                    ),
                    mandatory=True,
                )
                row.confirmed_at = row.published_at
                row.save(update_fields=["confirmed_at"])
                done += 1
    seconds = time.perf_counter() - started
    connection.close()
    return count / seconds


def compare(bench: Bench, ways: dict[str, Callable[[], float]]) -> dict[str, float]:
    from tests.benchmarks import bench_broker

    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(bench.rounds):
        for name, way in ways.items():
            bench_broker.prepare(bench.url)
            rates[name].append(way())
            print(f"  {turn + 1}. {name}: {rates[name][-1]:,.0f}/s", file=sys.stderr)
    bench_broker.clean_up(bench.url)
    return {name: statistics.median(found) for name, found in rates.items()}


# The scenarios

Rows = list[tuple[str, str, float, float, bool]]


def at_least(what: str, measured: float, bar: float) -> tuple[Any, ...]:
    return (what, "x", measured, bar, measured >= bar)


def at_most(what: str, measured: float, bar: float) -> tuple[Any, ...]:
    return (what, "ms", measured, bar, measured <= bar)


def scenario_drain(bench: Bench) -> Rows:
    from tests.benchmarks import bench_broker

    events = bench_broker.make_events(EVENTS)
    rates = compare(
        bench,
        {
            "relay": lambda: drain(bench, EVENTS, KEYS),
            "pika": lambda: bench_broker.pika_alone(bench.url, events, WINDOW),
            "hand": lambda: by_hand(bench, 2000),
        },
    )
    return [
        at_least("relay against pika alone", rates["relay"] / rates["pika"], 0.6),
        at_least(
            "relay against a hand-written loop", rates["relay"] / rates["hand"], 10
        ),
    ]


def scenario_single(bench: Bench) -> Rows:
    from tests.benchmarks import bench_broker

    events = bench_broker.make_events(EVENTS)
    rates = compare(
        bench,
        {
            "single key": lambda: drain(bench, 3000, 1),
            "confirm each": lambda: bench_broker.confirm_each(
                bench.url, events, WINDOW
            ),
        },
    )
    ratio = rates["single key"] / rates["confirm each"]
    return [at_least("a single key against a confirm for each", ratio, 0.8)]


def scenario_far(bench: Bench) -> Rows:
    from tests.brokers.rabbit import with_options
    from tests.services.proxy import Proxy

    proxy = Proxy(pika.URLParameters(bench.url).port)
    proxy.delay(0.005)
    url = with_options(bench.url, port=proxy.port)
    try:
        rates = compare(
            bench,
            {
                "near": lambda: drain(bench, EVENTS, KEYS),
                "far": lambda: drain(bench, EVENTS, KEYS, url=url, window=4000),
            },
        )
    finally:
        proxy.close()
    return [
        at_least("5 ms away each way, window 4,000", rates["far"] / rates["near"], 0.7)
    ]


def scenario_latency(bench: Bench) -> Rows:
    """From publish to consumer in an idle system, at 20 events a second."""
    from django.db import connections, transaction

    from django_strangler import publish_event
    from django_strangler.outbox.relay import Relay
    from tests.benchmarks import bench_broker

    bench_broker.prepare(bench.url)
    publish(bench, 1, 1, completed)
    stop = threading.Event()

    def relay() -> None:
        try:
            Relay(bench.alias, settings=settings(bench.url), stop=stop).run()
        finally:
            connections.close_all()

    arrived: dict[str, float] = {}

    def consume() -> None:
        connection = pika.BlockingConnection(pika.URLParameters(bench.url))
        channel = connection.channel()
        for method, properties, _ in channel.consume(
            bench_broker.QUEUE, auto_ack=True, inactivity_timeout=0.2
        ):
            if method is not None:
                arrived[properties.message_id] = time.perf_counter()
            if stop.is_set():
                break
        connection.close()

    threads = [threading.Thread(target=relay), threading.Thread(target=consume)]
    for thread in threads:
        thread.start()
    while not arrived:
        stop.wait(0.05)
    published: dict[str, float] = {}
    for number in range(200):
        with transaction.atomic(using=bench.alias):
            event = publish_event(
                "payment.completed", {"note": PAD}, key=f"k{number}", using=bench.alias
            )
        published[str(event.id)] = time.perf_counter()
        stop.wait(0.05)
    deadline = time.monotonic() + 10
    while not published.keys() <= arrived.keys() and time.monotonic() < deadline:
        stop.wait(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    bench_broker.clean_up(bench.url)
    times = sorted((arrived[id] - at) * 1000 for id, at in published.items())
    return [
        at_most("publish to consumer, p50", times[len(times) // 2], 10),
        at_most("publish to consumer, p99", times[int(len(times) * 0.99)], 50),
    ]


def scenario_forbidden(bench: Bench) -> Rows:
    """A tenth of the events has a type that the relay's user may not send."""
    with _limited_user(bench) as url:
        rest = EVENTS - EVENTS // 10

        def some(number: int) -> str:
            return "secret.thing" if number % 10 == 0 else "payment.completed"

        rates = compare(
            bench,
            {
                "all allowed": lambda: drain(bench, EVENTS, KEYS),
                "a tenth forbidden": lambda: drain(
                    bench, EVENTS, KEYS, url=url, type_of=some, expected=rest
                ),
            },
        )
    ratio = rates["a tenth forbidden"] / rates["all allowed"]
    return [at_least("the rest, when 10 % are forbidden", ratio, 0.3)]


@contextmanager
def _limited_user(bench: Bench) -> Iterator[str]:
    from tests.benchmarks import bench_broker
    from tests.brokers.rabbit import with_options

    ctl, user = bench.rabbitmq.ctl, "bench-limited"
    parameters = pika.URLParameters(bench.url)
    place = ("-p", parameters.virtual_host)
    ctl("add_user", user, "secret")
    try:
        ctl("set_permissions", *place, user, ".*", ".*", ".*")
        ctl(
            "set_topic_permissions",
            *place,
            user,
            bench_broker.EXCHANGE,
            "^payment[.].*",
            ".*",
        )
        yield with_options(bench.url, user=user, password="secret")
    finally:
        ctl("delete_user", user)


SCENARIOS: dict[str, Callable[[Bench], Rows]] = {
    "drain": scenario_drain,
    "single": scenario_single,
    "far": scenario_far,
    "latency": scenario_latency,
    "forbidden": scenario_forbidden,
}

if __name__ == "__main__":
    raise SystemExit(main())
