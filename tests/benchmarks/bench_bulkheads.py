"""
What a sick queue costs the others: a relay from PostgreSQL to a RabbitMQ of two nodes.

    python -m tests.benchmarks.bench_bulkheads [majority full held latency]

A quorum queue on both nodes loses its majority, or a queue is full; events for it are
pending before all others. The others' rate counts from the first event to the last
mark, with the time to find the sick queue out; with and without it take turns. Then,
with the sick queue found out, 200 events a second, and the time from COMMIT to the
consumer.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import django
import pika

from tests.waiting import wait_for

EXCHANGE, KEYS, PAD = "bulkheads", 10_000, "x" * 284
BAR, BAR_LATE, BAR_MEMORY = 0.8, 2.0, 100
RATE, SECONDS = 200, 10.0


class Bench:
    """Where everything is."""

    def __init__(
        self, alias: str, first: Any, second: Any, events: int, rounds: int
    ) -> None:
        self.alias, self.first, self.second = alias, first, second
        self.events, self.rounds = events, rounds

    @contextmanager
    def channel(self) -> Iterator[Any]:
        with pika.BlockingConnection(pika.URLParameters(self.first.url)) as connection:
            yield connection.channel()

    def begin(self) -> None:
        """Both nodes, and new queues."""
        self.second.start()
        # One that has just come back may not take part in a new queue yet.
        wait_for(self.declare, ignoring=(pika.exceptions.AMQPError,))
        for node in (self.first, self.second):
            node.settle()

    def declare(self) -> bool:
        """``fine`` is on the first node, ``stuck`` on both, ``full`` takes nothing."""
        with self.channel() as channel:
            channel.exchange_declare(EXCHANGE, "topic", durable=True)
            full = {"x-max-length": 1, "x-overflow": "reject-publish"}
            for name, nodes, more in (
                *(("fine", 1, {}), ("beside", 1, {}), ("stuck", 2, {})),
                ("full", 1, full),
            ):
                channel.queue_delete(name)
                quorum = {"x-queue-type": "quorum", **more}
                quorum["x-quorum-initial-group-size"] = nodes
                channel.queue_declare(name, durable=True, arguments=quorum)
                channel.queue_bind(name, EXCHANGE, f"{name}.*")
            channel.queue_bind("beside", EXCHANGE, "full.*")
        return True

    def depth(self, queue: str) -> int:
        with self.channel() as channel:
            found = channel.queue_declare(queue, passive=True)
            return int(found.method.message_count)


def publish(
    bench: Bench, sick: str, pending: int, well: int, fill: Callable[[], object] = bool
) -> None:
    from django.db import connections, transaction

    from django_strangler import publish_events
    from django_strangler.events import Event
    from django_strangler.models import OutboxEvent

    with connections[bench.alias].cursor() as cursor:
        # What an earlier turn found out is to be found out again.
        cursor.execute(f"TRUNCATE {OutboxEvent._meta.db_table}, strangler_heldtype")
    fill()
    many = [(f"{sick}.notified", f"sick:{number}") for number in range(pending)]
    many += [
        ("fine.settled", f"payments.payment:{number % KEYS}") for number in range(well)
    ]
    for start in range(0, len(many), 5000):
        with transaction.atomic(using=bench.alias):
            publish_events(
                [
                    Event(type=type, payload={"note": PAD}, key=key)
                    for type, key in many[start : start + 5000]
                ],
                using=bench.alias,
            )
    with connections[bench.alias].cursor() as cursor:
        cursor.execute(f"VACUUM ANALYZE {OutboxEvent._meta.db_table}")


def make_relay(bench: Bench, **options: Any) -> Any:
    from dataclasses import replace

    from django_strangler import conf
    from django_strangler.outbox.relay import Relay

    settings = replace(
        conf.Settings(**options), broker_url=(bench.first.url,), exchange=EXCHANGE
    )
    relay = Relay(bench.alias, settings=settings)
    relay.broker.open()
    while not relay.broker.ready:
        relay.broker.outcomes(0.1)
    return relay


def drain(
    bench: Bench,
    sick: str = "",
    pending: int = 0,
    harm: Callable[[], object] = bool,
    fill: Callable[[], object] = bool,
    **options: Any,
) -> tuple[float, float]:
    """The others' events per second, and the longest time without one of them."""
    bench.begin()
    publish(bench, sick, pending, bench.events, fill)
    harm()
    relay = make_relay(bench, **options)
    clock = {"last": time.perf_counter(), "stall": 0.0, "count": 0}
    timer = threading.Timer(300, relay.stop.set)
    timer.start()

    def watch(totals: Any) -> None:
        now = time.perf_counter()
        if totals.confirmed > clock["count"]:
            clock["stall"] = max(clock["stall"], now - clock["last"])
            clock["count"], clock["last"] = totals.confirmed, now
        if totals.confirmed >= bench.events:
            relay.stop.set()

    relay.on_progress = watch
    started = time.perf_counter()
    relay.run()
    timer.cancel()
    assert relay.totals.confirmed >= bench.events, relay.totals
    return bench.events / (clock["last"] - started), clock["stall"]


def latency(
    bench: Bench,
    sick: str = "",
    pending: int = 0,
    harm: Callable[[], object] = bool,
    fill: Callable[[], object] = bool,
    **options: Any,
) -> tuple[float, float]:
    """From COMMIT to the consumer, once the sick queue is known for what it is."""
    from tests.benchmarks.commits import Commits, p99
    from tests.services.databases import database_url

    bench.begin()
    publish(bench, sick, pending, 0, fill)
    harm()
    relay = make_relay(bench, **options)
    answers: list[Any] = []
    began = time.monotonic()

    def begin(_totals: Any) -> None:
        is_known = relay.held.types or not pending
        if not answers and is_known and time.monotonic() > began + 3:
            url = database_url(bench.alias)
            publisher = Commits(url, RATE, SECONDS, bench.first.url, "fine")
            answers.append(publisher.tell(relay.stop.set))

    relay.on_progress = begin
    relay.run()
    return p99(answers[0]())


def compare(
    bench: Bench, what: str, sick: str, pending: int, harm: Callable[[], object] = bool
) -> Iterator[tuple[str, float, float, str]]:
    """The others' rates without it and with it, in turns."""
    pairs = [
        (drain(bench), drain(bench, sick, pending, harm)) for _ in range(bench.rounds)
    ]
    alone = statistics.median(rate for (rate, _), _ in pairs)
    beside = statistics.median(rate for _, (rate, _) in pairs)
    stall = max(stall for _, (_, stall) in pairs)
    yield (
        what,
        beside / alone,
        BAR,
        f"{beside:,.0f}/s of {alone:,.0f}/s, longest stall {stall:.1f} s",
    )


def scenario_majority(bench: Bench) -> Iterator[tuple[str, float, float, str]]:
    for pending in (1, 20, 1000):
        what = f"{pending:,} pending for a queue without majority"
        yield from compare(bench, what, "stuck", pending, bench.second.kill)


def scenario_full(bench: Bench) -> Iterator[tuple[str, float, float, str]]:
    pending = 5000
    yield from compare(bench, f"{pending:,} pending for a full queue", "full", pending)
    copies = bench.depth("beside")
    yield (
        "events against copies in the queue beside it",
        pending / max(1, copies),
        1.0,
        f"{copies:,} copies",
    )


def scenario_held(bench: Bench) -> Iterator[tuple[str, float, float, str]]:
    """What ``bench_held`` fills the outbox with, on the way to RabbitMQ."""
    from functools import partial

    from tests.benchmarks import bench_held

    alone = statistics.median(drain(bench)[0] for _ in range(bench.rounds + 1))
    _, late = latency(bench)
    for name, fill in bench_held.SCENARIOS.items():
        options = {"parked_holds_key": True} if name == "parked_keys" else {}
        filled = partial(fill, bench.alias, 1.0)
        rates = [drain(bench, fill=filled, **options)[0] for _ in range(bench.rounds)]
        beside = statistics.median(rates)
        yield name, beside / alone, BAR, f"{beside:,.0f}/s of {alone:,.0f}/s"
        _, late_beside = latency(bench, fill=filled, **options)
        yield (
            f"2 x p99 against p99, {name}",
            BAR_LATE * late / late_beside,
            1.0,
            f"p99 {late_beside:.1f} ms of {late:.1f} ms",
        )


def scenario_latency(bench: Bench) -> Iterator[tuple[str, float, float, str]]:
    middle, late = latency(bench)
    for what, sick, harm in (
        ("a queue without majority", "stuck", bench.second.kill),
        ("a full queue", "full", bool),
    ):
        middle_beside, late_beside = latency(bench, sick, 1000, harm)
        yield (
            f"2 x p99 against p99, 1,000 pending for {what}",
            BAR_LATE * late / late_beside,
            1.0,
            f"p99 {late_beside:.1f} ms of {late:.1f} ms, medians {middle_beside:.1f} "
            f"and {middle:.1f}",
        )


SCENARIOS = {
    "majority": scenario_majority,
    "full": scenario_full,
    "held": scenario_held,
    "latency": scenario_latency,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", help="all of them by default")
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from tests.benchmarks.servers import servers
    from tests.services.rabbitmq import RABBITMQ, another_node

    rows = []
    with servers() as (services, databases):
        first = services.get_dedicated(RABBITMQ)
        second = services.start_private(another_node(first))
        with databases.fresh("postgresql") as alias:
            bench = Bench(alias, first, second, options.events, options.rounds)
            for name in options.scenarios or SCENARIOS:
                for row in SCENARIOS[name](bench):
                    rows.append(row)
                    print(row, file=sys.stderr, flush=True)
    print(f"\n{'the others, with':<48} {'ratio':>6} {'bar':>5}")
    for what, measured, bar, how in rows:
        mark = "" if measured >= bar else "  MISSED"
        print(f"{what:<48} {measured:>6.2f} {bar:>5g}  {how}{mark}")
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{used} MB of memory at most (bar {BAR_MEMORY})")
    return 0 if used <= BAR_MEMORY and all(row[1] >= row[2] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
