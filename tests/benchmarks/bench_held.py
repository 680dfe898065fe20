"""
What is held must not hold up what is well: bars of one sick queue, type or key.

    python -m tests.benchmarks.bench_held [name…] [--scale 1] [--rounds 3]

Each scenario fills one database with events that cannot go. Others that can are drained
there and in a database without the former, in turns, and medians count. Then both get
200 events a second, for the time from COMMIT to the broker. The broker is in this
process, so that only the relay and the database are measured.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.db import connections, transaction  # noqa: E402

from django_strangler import conf  # noqa: E402
from django_strangler.brokers import Cause, Kind, memory  # noqa: E402
from django_strangler.outbox.publishing import publish_event  # noqa: E402
from django_strangler.outbox.relay import Relay  # noqa: E402
from tests.benchmarks.bench_relay import TABLE, Forgetful  # noqa: E402
from tests.benchmarks.commits import Commits, p99  # noqa: E402
from tests.benchmarks.servers import servers  # noqa: E402
from tests.services.databases import database_url  # noqa: E402

WELL = 20_000
RATE, SECONDS = 200, 6.0
PARKED = ", parked_at, parked_reason"


class Noting(Forgetful):
    """Remembers when each event came."""

    arrived: dict[str, float]

    def send(self, events: Any, *, probe: bool = False) -> None:
        now = time.monotonic()
        super().send(events, probe=probe)
        self.arrived.update((event.id, now) for event in events)


def fill(
    alias: str, count: int, type: str, key: str, more: str = "", value: str = ""
) -> None:
    """``count`` keys with one event each; a type may hold ``{n}``."""
    with connections[alias].cursor() as cursor:
        named = type.replace("{n}", "' || (n %% 12) || '")
        cursor.execute(
            f"INSERT INTO {TABLE} (event_id, type, key, lane, body, size, headers, "
            f"correlation_id, published_at, attempts, last_error{more}) SELECT "
            f"gen_random_uuid(), '{named}', '{key}' || n, n %% 32, '{{}}', 2, "
            f"'{{}}', '', now(), 0, ''{value} FROM generate_series(1, {count}) n",
            [],
        )


def empty(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(f"TRUNCATE {TABLE}, strangler_heldtype")
        cursor.execute(f"VACUUM ANALYZE {TABLE}")


def make_relay(alias: str, **options: Any) -> Relay:
    far = memory.exchange("memory://held")
    far.reset()
    far.fail(Kind.UNKNOWN, "full", pattern="full.#", times=None, cause=Cause.NACKED)
    settings = conf.Settings(broker_url=("memory://held",), **options)
    broker = Noting(settings.broker_url, settings)
    broker.arrived = {}
    return Relay(alias, settings=settings, broker=broker)


def drain_well(alias: str, **options: Any) -> float:
    """
    How many events of what is well go in a second; they are gone again then.

    From the first look on, with the time to find out which types are to be held.
    """
    with connections[alias].cursor() as cursor:
        cursor.execute("TRUNCATE strangler_heldtype")
    fill(alias, WELL, "ok.settled", "w")
    relay = make_relay(alias, **options)
    relay.broker.open()
    started = time.perf_counter()
    while relay.totals.confirmed < WELL:
        relay.step()
        if time.perf_counter() > started + 120:
            break
    rate = relay.totals.confirmed / (time.perf_counter() - started)
    relay.leases.leave()
    with connections[alias].cursor() as cursor:
        cursor.execute(f"DELETE FROM {TABLE} WHERE confirmed_at IS NOT NULL")
        cursor.execute(f"VACUUM ANALYZE {TABLE}")
    return rate


def latency(alias: str, **options: Any) -> tuple[float, float]:
    """From COMMIT to the broker, at a steady rate, when all else is found out."""
    drain_well(alias, **options)
    relay = make_relay(alias, **options)
    publisher = Commits(database_url(alias), RATE, SECONDS)

    def all_came(totals: Any) -> None:
        if totals.confirmed >= RATE * SECONDS:
            relay.stop.set()

    relay.on_progress = all_came
    answer = publisher.tell(bool)
    timer = threading.Timer(60, relay.stop.set)
    timer.start()
    relay.run()
    timer.cancel()
    return p99(answer(), relay.broker.arrived)  # type: ignore[attr-defined]


def full_queue(alias: str, scale: float) -> dict[str, Any]:
    """12 types and 60,000 keys held by a full queue."""
    fill(alias, int(60_000 * scale), "full.t{n}", "f")
    return {}


def behind_held(alias: str, scale: float) -> dict[str, Any]:
    """25,000 keys whose next event waits behind a held one."""
    fill(alias, int(25_000 * scale), "full.notified", "b")
    fill(alias, int(25_000 * scale), "ok.settled", "b")
    return {}


def parked_keys(alias: str, scale: float) -> dict[str, Any]:
    """500,000 parked keys that hold."""
    fill(alias, int(500_000 * scale), "ok.parked", "p", PARKED, ", now(), 'rejected'")
    return {"parked_holds_key": True}


SCENARIOS: dict[str, Callable[[str, float], dict[str, Any]]] = {
    each.__name__: each for each in (full_queue, behind_held, parked_keys)
}


def compare(alone: str, among: str, name: str, given: argparse.Namespace) -> bool:
    """Whether the others hardly notice."""
    empty(alone)
    empty(among)
    options = SCENARIOS[name](among, given.scale)
    drain_well(alone), drain_well(among, **options)  # For the caches.
    pairs = [
        (drain_well(alone, **options), drain_well(among, **options))
        for _ in range(given.rounds)
    ]
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    without = statistics.median(first for first, _ in pairs)
    beside = statistics.median(second for _, second in pairs)
    (middle, late), (middle_among, late_among) = (
        latency(alone, **options),
        latency(among, **options),
    )
    print(
        f"{name:14} >= 0.80 x, p99 <= 2 x, <= 100 MB   {beside / without:.2f} x "
        f"({beside:,.0f}/s of {without:,.0f}/s; "
        f"{', '.join(f'{it / its:.2f}' for its, it in pairs)}), "
        f"p99 {late_among / late:.2f} x ({late_among:.1f} of {late:.1f} ms; medians "
        f"{middle_among:.1f}, {middle:.1f}), {used} MB",
        flush=True,
    )
    return beside >= 0.8 * without and late_among <= 2 * late and used <= 100


def reads(alias: str, scale: float) -> bool:
    """Milliseconds of a look beside a million of what is skipped."""
    is_quick = True
    for name, type, more, value in (
        ("held", "full.notified", "", ""),
        ("confirmed", "ok.done", ", confirmed_at", ", now()"),
    ):
        empty(alias)
        fill(alias, int(1_000_000 * scale), type, "s", more, value)
        fill(alias, 100, "ok.settled", "w")
        relay = make_relay(alias)
        relay.broker.open()
        while relay.totals.confirmed < 100:
            relay.step()
        took: list[float] = []
        for _ in range(50):
            relay.leases.keep()
            relay._reading.wake()
            relay._reading._due._looked_at = float(
                "-inf"
            )  # No pause between two of them.
            started = time.perf_counter()
            relay._reading.read()
            took.append(1000 * (time.perf_counter() - started))
        print(
            f"a look beside {name:12} <= 10 ms   {statistics.median(took):.1f} ms, "
            f"at most {max(took):.1f} ms",
            flush=True,
        )
        is_quick &= statistics.median(took) <= 10
        relay.leases.leave()
    return is_quick


def idle(alias: str) -> bool:
    """Statements of one relay and of four, with one event a second."""
    empty(alias)
    one, four = (count_statements(alias, relays) for relays in (1, 4))
    print(
        f"idle, 4 relays <= 2 x the statements of one   {four / one:.2f} x "
        f"({four:.1f}/s of {one:.1f}/s)",
        flush=True,
    )
    return four <= 2 * one


def count_statements(alias: str, relays: int, seconds: int = 10) -> float:
    stop, counts = threading.Event(), [0] * relays

    def run(place: int) -> None:
        relay = make_relay(alias)

        def count(execute: Any, *told: Any) -> Any:
            counts[place] += 1
            return execute(*told)

        def look(_totals: Any) -> None:
            if stop.is_set():
                relay.stop.set()

        relay.on_progress = look
        with relay.connection.execute_wrapper(count):
            relay.run()

    threads = [threading.Thread(target=run, args=[place]) for place in range(relays)]
    for thread in threads:
        thread.start()
    time.sleep(6)  # Until the lanes are divided.
    before = sum(counts)
    for number in range(seconds):
        with transaction.atomic(using=alias):
            publish_event("ok.settled", {}, key=f"i{number}", using=alias)
        time.sleep(1)
    after = sum(counts)
    stop.set()
    for thread in threads:
        thread.join()
    return (after - before) / seconds


@contextmanager
def two_databases() -> Any:
    with (
        servers() as (_, databases),
        databases.fresh("postgresql") as alone,
        databases.fresh("postgresql") as among,
    ):
        yield alone, among


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    names = [*SCENARIOS, "reads", "idle"]
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(names))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    missed = 0
    with two_databases() as (alone, among):
        for name in given.names or names:
            if name == "reads":
                missed += not reads(among, given.scale)
            elif name == "idle":
                missed += not idle(among)
            else:
                missed += not compare(alone, among, name, given)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
