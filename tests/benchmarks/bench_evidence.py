"""
What evidence costs, how soon a guard acts, and what the board takes.

    python -m tests.benchmarks.bench_evidence

Bars: a note takes 2 µs at most, with seconds 3; a process under load writes by one
statement a second; from the 20th failure of a burst to the flag being off in another
process it takes 3 s at most, by the slowest of 20 runs; the board takes 150 ms with a
year of evidence for 50 sources. Notes and the board are measured by processor time,
which other work on the machine changes little; the database is the tests' PostgreSQL.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from timeit import repeat
from typing import Any

from tests.benchmarks.bench_dashboard import Everything, log_in
from tests.benchmarks.bench_dashboard import measure as measure_page

RUNS = 20
SECONDS = 5.0
THREADS = 4
SOURCES, DAYS = 50, 365
SOURCE, FLAG = "route:payments-api", "payments-v2"
Row = tuple[str, str, str, bool]

LOAD = f"""
import threading, time
import django; django.setup()
from django.db.backends.signals import connection_created
from django_strangler import evidence

statements = []

def count(execute, sql, params, many, context):
    if threading.current_thread().name == "strangler-evidence":
        statements.append(sql)
    return execute(sql, params, many, context)

connection_created.connect(
    lambda connection, **more: connection.execute_wrappers.append(count), weak=False
)
until, notes = time.monotonic() + {SECONDS}, []

def work():
    number = 0
    while time.monotonic() < until:
        for each in range(20):
            evidence.note(f"route:{{each}}", ok=number % 100 > 0, seconds=0.01)
            number += 1
    notes.append(number)

threads = [threading.Thread(target=work) for _ in range({THREADS})]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len([sql for sql in statements if "INSERT" in sql]), len(statements), sum(notes))
"""

OTHER = f"""
import time
import django; django.setup()
from django_strangler import feature_flags
was = None
while True:
    is_on = feature_flags.is_enabled("{FLAG}", 1)
    if is_on != was:
        print("on" if is_on else "off", time.monotonic(), flush=True)
    was = is_on
    time.sleep(0.005)
"""


def notes() -> Iterator[Row]:
    """Microseconds of one call."""
    from django_strangler.evidence.counts import Counts

    note = Counts(wake=lambda: True).note
    calls: tuple[tuple[str, float, dict[str, Any]], ...] = (
        ("a note", 2, {}),
        ("a note of a failure", 2, {"side": "legacy", "ok": False}),
        ("a note with seconds", 3, {"ok": True, "seconds": 0.21}),
    )
    for name, bar, more in calls:
        times = repeat(
            lambda more=more: note(SOURCE, **more),
            number=2000,
            repeat=200,
            timer=time.process_time,
        )
        each = median(times) / 2000 * 1e6
        yield name, f"<= {bar} µs", f"{each:.2f} µs", each <= bar


def statements(alias: str, folder: Path) -> Iterator[Row]:
    """Of a process in which threads note all the time."""
    from tests.relay.processes import environment

    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        env=environment(alias, folder),
        capture_output=True,
        text=True,
        check=True,
    )
    writes, all_of_them, noted = map(int, done.stdout.split())
    yield (
        f"statements in {SECONDS:g} s",
        f"<= {SECONDS:g}",
        f"{writes}, and {all_of_them - writes} to connect and to look at guards; "
        f"{noted / SECONDS:,.0f} notes a second",
        writes <= SECONDS,
    )


def bursts(alias: str, folder: Path) -> Iterator[Row]:
    """From the 20th failure here to the flag being off there."""
    from django_strangler import evidence, feature_flags
    from tests.relay.processes import environment

    feature_flags.set_rollout(FLAG, 100)
    feature_flags.set_guard(FLAG, on=[SOURCE], action="off")
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER],
        env=environment(alias, folder),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout
    taken = []
    try:
        for run in range(RUNS):
            assert other.stdout.readline().startswith("on")
            for _ in range(100):  # As in a busy process: the thread is awake.
                evidence.note(SOURCE)
            time.sleep(1 + run / RUNS)  # Anywhere within its second.
            for _ in range(20):
                evidence.note(SOURCE, ok=False)
            failed = time.monotonic()
            word, at = other.stdout.readline().split()
            assert word == "off"
            taken.append(float(at) - failed)
            feature_flags.resume(FLAG)
    finally:
        other.kill()
        other.wait()
    yield (
        "burst to off in another process",
        "<= 3 s",
        f"median {median(taken):.2f} s, slowest of {RUNS} {max(taken):.2f} s",
        max(taken) <= 3,
    )


def a_year(alias: str) -> None:
    """Of all sources: days for the year, and minutes of the last two days."""
    from django.db import connections

    from django_strangler.models import EvidenceCount

    with connections[alias].cursor() as cursor:
        for process, last, width in (("''", DAYS, 86400), ("'p'", 2 * 1440, 60)):
            cursor.execute(
                f"INSERT INTO {EvidenceCount._meta.db_table} (process, slice, source, "
                "side, pair, at, written_at, checked, failed, buckets, failures) "
                f"SELECT {process}, FLOOR(EXTRACT(EPOCH FROM NOW()) / {width}) - ago, "
                "'bench:' || number, side, md5(number || side), "
                f"NOW() - ago * INTERVAL '{width} s', "
                f"NOW() - ago * INTERVAL '{width} s', "
                "1000, 3, '{\"75\": 1000}', '[]' "
                f"FROM generate_series(0, {SOURCES - 1}) number, "
                f"generate_series(0, {last - 1}) ago, "
                "(VALUES ('legacy'), ('modern')) sides (side)"
            )
        cursor.execute(f"VACUUM ANALYZE {EvidenceCount._meta.db_table}")


def board(alias: str) -> Iterator[Row]:
    """The whole page of the admin, with a hundred flags."""
    from django_strangler.monitoring import board
    from django_strangler.monitoring.board import Shown

    a_year(alias)
    board.register(
        "Measured",
        lambda: [
            Shown(
                domain=f"domain-{number % 10}",
                name=f"route-{number}",
                sources=(f"bench:{number}",),
                quiet=(f"bench:{number}",),
                flags=(f"flag-{number}",),
            )
            for number in range(SOURCES)
        ],
    )
    client = log_in()
    milliseconds, queries = measure_page(client, alias, "/admin/strangler/", False)
    yield (
        f"the page, a year of {SOURCES} sources",
        "<= 150 ms",
        f"{milliseconds:.0f} ms, {queries} queries",
        milliseconds <= 150,
    )


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    os.environ.setdefault("DEBUG", "0")
    import django

    django.setup()
    from django.test import override_settings

    from tests.benchmarks.servers import servers

    missed = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        servers() as (_, databases),
        databases.fresh("postgresql") as alias,
        databases.fresh("postgresql") as Everything.alias,
        override_settings(
            ALLOWED_HOSTS=["testserver"], DATABASE_ROUTERS=[Everything()]
        ),
    ):
        for rows in (
            notes(),
            statements(alias, Path(folder)),
            bursts(Everything.alias, Path(folder)),
            board(Everything.alias),
        ):
            for name, bar, measured, passed in rows:
                missed += not passed
                verdict = "" if passed else "  MISSED"
                print(f"{name:32} {bar:10} {measured}{verdict}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
