"""
What is held must not hold up what is well: bars of one sick queue, type or key.

    python -m tests.benchmarks.bench_held [name…] [--scale 1]

Each scenario fills the outbox with events that cannot go and with others that can, and
measures how quickly the others drain, against the same others alone. The broker is in
this process, so that only the relay and the database are measured.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.db import connections  # noqa: E402

from django_strangler import conf  # noqa: E402
from django_strangler.brokers import Cause, Kind, memory  # noqa: E402
from django_strangler.outbox.relay import Relay  # noqa: E402
from tests.benchmarks.bench_relay import TABLE, Forgetful  # noqa: E402
from tests.benchmarks.servers import servers  # noqa: E402

WELL = 20_000
PARKED = ", parked_at, parked_reason"


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


def drain_well(alias: str, count: int, **options: Any) -> tuple[float, Relay]:
    """How many events of what is well go in a second."""
    far = memory.exchange("memory://held")
    far.reset()
    far.fail(Kind.UNKNOWN, "full", pattern="full.#", times=None, cause=Cause.NACKED)
    settings = conf.Settings(broker_url=("memory://held",), **options)
    relay = Relay(
        alias, settings=settings, broker=Forgetful(settings.broker_url, settings)
    )
    relay.broker.open()
    started = time.perf_counter()
    while relay.totals.confirmed < count:
        relay.step()
        if time.perf_counter() > started + 120:
            break
    rate = relay.totals.confirmed / (time.perf_counter() - started)
    relay.leases.leave()
    return rate, relay


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


def reads(alias: str, scale: float) -> None:
    """Milliseconds of a look beside a million of what is skipped."""
    for name, type, more, value in (
        ("held", "full.notified", "", ""),
        ("confirmed", "ok.done", ", confirmed_at", ", now()"),
    ):
        empty(alias)
        fill(alias, int(1_000_000 * scale), type, "s", more, value)
        fill(alias, 100, "ok.settled", "w")
        _, relay = drain_well(alias, 100)
        took: list[float] = []
        for _ in range(50):
            relay.leases.keep()
            started = time.perf_counter()
            relay._reading.wake()
            relay._reading.read()
            took.append(1000 * (time.perf_counter() - started))
        print(
            f"a look beside {name:12} <= 10 ms   {statistics.median(took):.1f} ms, "
            f"at most {max(took):.1f} ms",
            flush=True,
        )
        relay.leases.leave()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(SCENARIOS))
    parser.add_argument("--scale", type=float, default=1.0)
    given = parser.parse_args()
    missed = 0
    with servers() as (_, databases), databases.fresh("postgresql") as alias:
        for name in given.names or [*SCENARIOS, "reads"]:
            if name == "reads":
                reads(alias, given.scale)
                continue
            empty(alias)
            fill(alias, WELL, "ok.settled", "w")
            alone, _ = drain_well(alias, WELL)
            empty(alias)
            options = SCENARIOS[name](alias, given.scale)
            fill(alias, WELL, "ok.settled", "w")
            beside, _ = drain_well(alias, WELL, **options)
            used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            missed += beside < 0.8 * alone or used > 100
            print(
                f"{name:14} >= 0.80 x, <= 100 MB   {beside / alone:.2f} x "
                f"({beside:,.0f}/s of {alone:,.0f}/s), {used} MB",
                flush=True,
            )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
