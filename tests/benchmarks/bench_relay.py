"""
The relay's bars, measured side by side in one run.

    python -m tests.benchmarks.bench_relay [name…] [--scale 1] [--rounds 3]

Each scenario takes turns with what it is compared to, and medians count. Databases are
private ones; brokers are in this process, so that only the relay and the database are
measured. ``--scale 0.1`` makes everything ten times smaller, for a first look.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.db import connections, transaction  # noqa: E402

from django_strangler import conf  # noqa: E402
from django_strangler.brokers import memory  # noqa: E402
from django_strangler.events import Event  # noqa: E402
from django_strangler.outbox.marking import Marks  # noqa: E402
from django_strangler.outbox.publishing import (  # noqa: E402
    publish_event,
    publish_events,
)
from django_strangler.outbox.relay import Relay  # noqa: E402
from django_strangler.outbox.retention import prune  # noqa: E402
from django_strangler.outbox.rows import Reach  # noqa: E402
from django_strangler.outbox.store import Store  # noqa: E402
from tests.benchmarks.servers import servers  # noqa: E402
from tests.services.databases import Databases, database_url  # noqa: E402

TABLE = "strangler_outboxevent"
PENDING = 100_000
BESIDE = 1_000_000


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table."""

    name: str
    bar: str
    measured: str
    passed: bool


class Forgetful(memory.MemoryBroker):
    """memory://, but for keeping everything that was sent."""

    def send(self, events: Any, *, probe: bool = False) -> None:
        super().send(events, probe=probe)
        self.exchange.sent.clear()


class Bench:
    """Databases and the measures of one run."""

    def __init__(self, databases: Databases, scale: float, rounds: int) -> None:
        self.databases = databases
        self.scale = scale
        self.rounds = rounds

    def count(self, number: int) -> int:
        return max(100, int(number * self.scale))

    def fresh(self, vendor: str = "postgresql") -> Any:
        return self.databases.fresh(vendor)

    def median(self, measure: Callable[[], float]) -> float:
        return statistics.median(measure() for _ in range(self.rounds))

    def ratio(
        self, name: str, bar: float, base: Callable[[], float], it: Callable[[], float]
    ) -> Result:
        """Rates of both, taking turns; how much of the first the second reaches."""
        base(), it()  # Once for the caches of database and Python.
        pairs = [(base(), it()) for _ in range(self.rounds)]
        without = statistics.median(first for first, _ in pairs)
        beside = statistics.median(second for _, second in pairs)
        ratio = beside / without
        return Result(
            name,
            f">= {bar:.2f} x",
            f"{ratio:.2f} x ({beside:,.0f}/s of {without:,.0f}/s)",
            ratio >= bar,
        )


def fill(
    alias: str, count: int, *, key: str = "", more: str = "", value: str = ""
) -> None:
    """Rows of 300 bytes by the database itself; ``more`` columns with a ``value``."""
    vendor = connections[alias].vendor
    columns = (
        "event_id, type, {q}key{q}, lane, body, size, headers, correlation_id, "
        "published_at, attempts, last_error, parked_reason" + more
    )
    body = '{"note":"' + "x" * 290 + '"}'
    with connections[alias].cursor() as cursor:
        if vendor == "postgresql":
            given = f"'{key}'" if key else "'k' || (n %% 10000)"
            cursor.execute(
                f"INSERT INTO {TABLE} ({columns.format(q='')}) SELECT "
                f"gen_random_uuid(), 'payment.completed', {given}, n %% 32, '{body}', "
                f"300, '{{}}', '', now(), 0, '', ''{value} "
                f"FROM generate_series(1, {count}) n",
                [],
            )
            cursor.execute(f"ANALYZE {TABLE}")
        else:
            given = f"'{key}'" if key else "concat('k', seq mod 10000)"
            cursor.execute(
                f"INSERT INTO {TABLE} ({columns.format(q='`')}) SELECT "
                f"uuid(), 'payment.completed', {given}, seq mod 32, '{body}', 300, "
                f"'{{}}', '', utc_timestamp(6), 0, '', ''{value} "
                f"FROM seq_1_to_{count}"
            )
            cursor.execute(f"ANALYZE TABLE {TABLE}")
            cursor.fetchall()


def empty(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(f"TRUNCATE TABLE {TABLE}")


def drain(alias: str, **options: Any) -> float:
    """Events per second."""
    settings = conf.Settings(broker_url=("memory://bench",), **options)
    broker = Forgetful(settings.broker_url, settings)
    relay = Relay(alias, settings=settings, broker=broker)
    started = time.perf_counter()
    done = relay.drain().confirmed
    return done / (time.perf_counter() - started)


def bare_loop(alias: str) -> float:
    """The same statements and nothing else: no order, no broker, no lease."""
    store, marks = Store(connections[alias]), Marks(connections[alias])
    marks.prepare()
    started, done = time.perf_counter(), 0
    while rows := [due.event.row for due in store.read(Reach(range(32)), 2000)]:
        for start in range(0, len(rows), 500):
            marks.confirm(rows[start : start + 500])
        done += len(rows)
    return done / (time.perf_counter() - started)


# The scenarios


def throughput(bench: Bench) -> Iterator[Result]:
    """25,000/s, or 0.9 x of what a bare loop of the same SQL makes."""
    pending = bench.count(PENDING)
    with bench.fresh() as alias:

        def measure(work: Callable[[str], float]) -> float:
            empty(alias)
            fill(alias, pending)
            return work(alias)

        result = bench.ratio(
            "throughput", 0.9, lambda: measure(bare_loop), lambda: measure(drain)
        )
        rate = bench.median(lambda: measure(drain))
        yield Result(
            result.name,
            ">= 25,000/s or 0.90 x bare",
            f"{rate:,.0f}/s, {result.measured}",
            rate >= 25_000 or result.passed,
        )


def beside(bench: Bench, name: str, vendor: str, more: str, value: str) -> Result:
    pending, others = bench.count(PENDING), bench.count(BESIDE)
    with bench.fresh(vendor) as alone, bench.fresh(vendor) as among:
        fill(among, others, more=more, value=value)

        def measure(alias: str) -> float:
            if alias == alone:
                empty(alias)
            fill(alias, pending)
            return drain(alias)

        return bench.ratio(name, 0.85, lambda: measure(alone), lambda: measure(among))


def confirmed(bench: Bench) -> Iterator[Result]:
    """1,000,000 confirmed rows beside the backlog."""
    for vendor, now in (("postgresql", "now()"), ("mariadb", "utc_timestamp(6)")):
        yield beside(
            bench, f"confirmed beside, {vendor}", vendor, ", confirmed_at", f", {now}"
        )


def delayed(bench: Bench) -> Iterator[Result]:
    """1,000,000 events delayed by a week beside the backlog."""
    yield beside(
        bench,
        "delayed beside",
        "postgresql",
        ", available_at",
        ", now() + interval '7 days'",
    )


def idle_transaction(bench: Bench) -> Iterator[Result]:
    """A transaction has been idle since before the backlog."""
    pending = bench.count(PENDING)
    with bench.fresh() as alias:

        def measure(*, held: bool) -> float:
            empty(alias)
            with connections[alias].cursor() as cursor:
                cursor.execute(f"VACUUM {TABLE}")
            other = connections[alias].copy()
            if held:
                other.set_autocommit(False)
                with other.cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    cursor.execute("SELECT 1")
            fill(alias, pending)
            rate = drain(alias)
            other.close()
            return rate

        yield bench.ratio(
            "idle transaction",
            0.7,
            lambda: measure(held=False),
            lambda: measure(held=True),
        )


def held_key(bench: Bench) -> Iterator[Result]:
    """50,000 pending of one held key before 50,000 of others."""
    half = bench.count(PENDING // 2)
    with bench.fresh() as alias:

        def measure(*, held: bool) -> float:
            empty(alias)
            if held:
                fill(alias, half, key="held")
                with connections[alias].cursor() as cursor:
                    cursor.execute(
                        f"UPDATE {TABLE} SET retry_at = now() + interval '1 hour' "
                        f"WHERE id = (SELECT min(id) FROM {TABLE})"
                    )
            fill(alias, half)
            return drain(alias)

        yield bench.ratio(
            "held key before",
            0.7,
            lambda: measure(held=False),
            lambda: measure(held=True),
        )


def cycle(bench: Bench) -> Iterator[Result]:
    """Publish, drain and prune together, over 1,000,000 events."""
    part = bench.count(BESIDE) // 50
    with bench.fresh() as alias, bench.fresh() as control:
        rates = []
        for _ in range(50):
            # Beside each part, one in an empty table: a machine has moods, and a
            # table's age is what is asked for.
            empty(control)
            fresh = _publish_drain_prune(control, part // 4)
            rates.append(_publish_drain_prune(alias, part) / fresh)
    first, last = statistics.median(rates[:5]), statistics.median(rates[-5:])
    yield Result(
        "publish, drain, prune",
        "last tenth >= 0.85 x",
        f"{last / first:.2f} x (of an empty table: {last:.2f} x after {first:.2f} x)",
        last / first >= 0.85,
    )


def _publish_drain_prune(alias: str, count: int) -> float:
    started = time.perf_counter()
    for start in range(0, count, 1000):
        numbers = range(start, min(start + 1000, count))
        events = [
            Event(type="a.b", payload={"n": n}, key=f"k{n % 500}") for n in numbers
        ]
        with transaction.atomic(using=alias):
            publish_events(events, using=alias)
    drain(alias)
    for _ in prune(alias, older_than=0.0):
        pass
    return count / (time.perf_counter() - started)


def memory_use(bench: Bench) -> Iterator[Result]:
    """A process of its own that drains 200,000 events, or payloads of 1 MiB."""
    with bench.fresh() as alias:
        fill(alias, bench.count(200_000))
        yield _measure_memory("memory, 200,000 events", alias, 100)
    with bench.fresh() as alias:
        body = "x" * (1024 * 1024 - 100)
        for n in range(bench.count(200)):
            with transaction.atomic(using=alias):
                publish_event("a.b", {"text": body}, key=f"k{n}", using=alias)
        yield _measure_memory("memory, 1 MiB payloads", alias, 200)


def _measure_memory(name: str, alias: str, bar: int) -> Result:
    code = (
        "import re; from tests.benchmarks import bench_relay as b\n"
        "from django.db import connections\n"
        "use = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', "
        "open('/proc/self/status').read())[1]) / 1024\n"
        "connections['default'].ensure_connection(); before = use()\n"
        "print(b.drain('default'), before, use())"
    )
    env = {**os.environ, "DATABASE_URL": database_url(alias)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    _, before, peak = map(float, done.stdout.split())
    return Result(
        name,
        f"< {bar} MB",
        f"{peak:.0f} MB at most, {peak - before:.0f} of them while draining",
        peak < bar,
    )


def sqlite_writers(bench: Bench) -> Iterator[Result]:
    """Two writers at 50/s beside a draining relay."""
    with bench.fresh("sqlite") as alias, _backlog(alias, bench.count(20_000)):
        took: list[float] = []
        errors: list[Exception] = []

        def write(name: str) -> None:
            try:
                for number in range(int(500 * bench.scale) or 50):
                    started = time.perf_counter()
                    with transaction.atomic(using=alias):
                        publish_event("a.b", {}, key=f"{name}{number}", using=alias)
                    took.append(time.perf_counter() - started)
                    time.sleep(max(0.0, 0.02 - took[-1]))
            except Exception as error:  # noqa: BLE001
                errors.append(error)
            finally:
                connections[alias].close()

        threads = [threading.Thread(target=write, args=[name]) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    p99 = sorted(took)[int(len(took) * 0.99)] if took else 99.0
    yield Result(
        "SQLite, two writers",
        "p99 <= 50 ms, no error",
        f"p99 {1000 * p99:.1f} ms, {len(errors)} errors",
        p99 <= 0.05 and not errors,
    )


@contextmanager
def _backlog(alias: str, count: int) -> Iterator[None]:
    """A relay in a process of its own that has so much to do."""
    with transaction.atomic(using=alias):
        events = [
            Event(type="a.b", payload={}, key=f"k{n % 500}") for n in range(count)
        ]
        publish_events(events, using=alias)
    code = (
        "from tests.benchmarks import bench_relay as b\n"
        "s = b.conf.Settings(broker_url=('memory://',))\n"
        "b.Relay(settings=s, broker=b.Forgetful(s.broker_url, s)).run()"
    )
    env = {**os.environ, "DATABASE_URL": database_url(alias)}
    process = subprocess.Popen([sys.executable, "-c", code], env=env)
    try:
        yield
    finally:
        process.kill()
        process.wait()


SCENARIOS: dict[str, Callable[[Bench], Iterator[Result]]] = {
    each.__name__: each
    for each in (
        throughput,
        confirmed,
        delayed,
        idle_transaction,
        held_key,
        cycle,
        memory_use,
        sqlite_writers,
    )
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(SCENARIOS))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if unknown := set(given.names) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(unknown)}")
    missed = 0
    print(f"{'scenario':28} {'bar':28} measured")
    with servers() as (_, databases):
        bench = Bench(databases, given.scale, given.rounds)
        for name in given.names or SCENARIOS:
            for result in SCENARIOS[name](bench):
                missed += not result.passed
                verdict = "" if result.passed else "   MISSED"
                print(
                    f"{result.name:28} {result.bar:28} {result.measured}{verdict}",
                    flush=True,
                )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
