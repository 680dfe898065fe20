"""
What it costs to look, measured beside millions of rows.

    python -m tests.benchmarks.bench_monitoring [--scale 1]

Bars: a scrape takes 20 ms at most with 5,000,000 confirmed, 10,000 pending and
1,000 parked rows; a relay that is counted keeps 0.95 of its throughput. Databases are
private ones. ``--scale 0.1`` makes everything ten times smaller.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.db import connections, router  # noqa: E402
from prometheus_client import CollectorRegistry, generate_latest  # noqa: E402

from django_strangler import conf  # noqa: E402
from django_strangler.monitoring import recent  # noqa: E402
from django_strangler.monitoring.metrics import StranglerCollector  # noqa: E402
from django_strangler.monitoring.tally import Tally  # noqa: E402
from django_strangler.outbox.relay import Relay  # noqa: E402
from tests.benchmarks.bench_relay import Forgetful, empty  # noqa: E402
from tests.benchmarks.bench_relay import fill as fill_pending  # noqa: E402
from tests.benchmarks.servers import servers  # noqa: E402
from tests.brokers.factories import outgoing  # noqa: E402
from tests.monitoring.factories import add_consumer, add_relay, fill  # noqa: E402
from tests.services.databases import Databases  # noqa: E402

CONFIRMED, PENDING, PARKED = 5_000_000, 10_000, 1_000
SCRAPE, THROUGHPUT = 20.0, 0.95


@contextmanager
def routed(alias: str) -> Iterator[None]:
    before = router.db_for_write
    router.db_for_write = lambda model, **hints: alias  # type: ignore[method-assign]
    try:
        yield
    finally:
        router.db_for_write = before  # type: ignore[method-assign]


def scrapes(databases: Databases, vendor: str, scale: float) -> Iterator[tuple]:
    """Milliseconds of a whole scrape, its look included, with and without a new
    connection."""
    with databases.fresh(vendor) as alias, routed(alias):
        rounds = max(1, int(CONFIRMED * scale) // 500_000)
        for _ in range(rounds):
            fill(alias, confirmed=min(int(CONFIRMED * scale), 500_000))
        fill(alias, pending=PENDING, parked=PARKED)
        add_relay(alias)
        add_consumer(alias)
        registry = CollectorRegistry()
        registry.register(StranglerCollector([alias]))

        def measure(connected: bool) -> float:
            recent._looks.clear()
            if connected:
                connections[alias].ensure_connection()
            else:
                connections[alias].close()
            started = time.perf_counter()
            generate_latest(registry)
            return 1000 * (time.perf_counter() - started)

        first = measure(True)
        for connected in (True, False):
            times = sorted(measure(connected) for _ in range(40))
            how = "connected" if connected else "connecting"
            yield (
                f"scrape, {vendor}, {how}",
                f"<= {SCRAPE:g} ms",
                f"median {statistics.median(times):.1f} ms, best {times[0]:.1f} ms, "
                f"95 % {times[37]:.1f} ms, first {first:.1f} ms",
                statistics.median(times) <= SCRAPE,
            )
        times = []
        for _ in range(200):
            started = time.perf_counter()
            generate_latest(registry)
            times.append(1000 * (time.perf_counter() - started))
        yield (
            f"scrape, {vendor}, remembered",
            "",
            f"median {statistics.median(times):.2f} ms",
            True,
        )


def throughput(databases: Databases, scale: float) -> Iterator[tuple]:
    """A relay with and without somebody who counts."""
    with databases.fresh("postgresql") as alias:

        def drain(counted: bool) -> float:
            empty(alias)
            fill_pending(alias, int(100_000 * scale))
            settings = conf.Settings(broker_url=("memory://bench",))
            broker = Forgetful(settings.broker_url, settings)
            relay = Relay(alias, settings=settings, broker=broker)
            tally = Tally()
            if counted:
                tally.listen()
            started = time.perf_counter()
            try:
                done = relay.drain().confirmed
            finally:
                tally.ignore()
            return done / (time.perf_counter() - started)

        drain(False)
        pairs = [(drain(False), drain(True)) for _ in range(5)]
        off = statistics.median(first for first, _ in pairs)
        on = statistics.median(second for _, second in pairs)
        yield (
            "relay with metrics",
            f">= {THROUGHPUT} x",
            f"{on / off:.2f} x ({on:,.0f}/s of {off:,.0f}/s)",
            on / off >= THROUGHPUT,
        )


def counting() -> Iterator[tuple]:
    """What counting costs of a processor, at 25,000 events a second."""
    tally, now = Tally(), datetime.now(timezone.utc)
    events = [outgoing(row, published_at=now) for row in range(500)]
    started = time.process_time()
    for _ in range(200):
        tally._confirmed(None, events)
    each = (time.process_time() - started) / 100_000
    yield (
        "counting confirmed events",
        "<= 5 %",
        f"{1e6 * each:.2f} us each, {100 * 25_000 * each:.1f} % of a core at 25,000/s",
        25_000 * each <= 0.05,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    scale = parser.parse_args().scale
    missed = 0
    with servers() as (_, databases):
        for results in (
            *(scrapes(databases, each, scale) for each in ("postgresql", "mariadb")),
            throughput(databases, min(1.0, scale)),
            counting(),
        ):
            for name, bar, measured, passed in results:
                missed += not passed
                verdict = "" if passed else "  MISSED"
                print(f"{name:36} {bar:10} {measured}{verdict}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
