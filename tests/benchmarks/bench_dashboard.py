"""
How long the admin's pages take beside millions of events.

    python -m tests.benchmarks.bench_dashboard [--confirmed 5000000] [--explain]

Two tables: one with a week of confirmed events, one with all of them in the last hour,
both with 10,000 pending and 1,000 parked events, a hundred flags and relays and
consumers. Measured is the whole answer of Django's test client, as somebody in a group
with every permission; the database is the tests' PostgreSQL. The bar: 150 ms, and 12
queries. It is held against the processor time of Python and PostgreSQL together, which
other work on the machine does not change, as it does the time by the clock.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

PENDING, PARKED = 10_000, 1_000
ROUNDS = 30
MILLISECONDS, QUERIES = 150.0, 12
BODY = '{"paymentId":42,"userId":7,"amount":"12.50","currency":"EUR"}'
SPREADS = {"a week of events": 7 * 86400, "all in the last hour": 3600}


class Everything:
    """A database router: all of it lives there."""

    alias = ""

    def db_for_read(self, model: type, **hints: object) -> str:
        return self.alias

    db_for_write = db_for_read

    def allow_relation(self, *args: object, **hints: object) -> bool:
        return True


def fill(alias: str, confirmed: int, seconds: int) -> None:
    from django.db import connections

    from django_strangler.models import OutboxEvent

    table = OutboxEvent._meta.db_table
    moment = (
        "statement_timestamp() - make_interval(secs => "
        f"({confirmed} - seq) * {seconds}.0 / {confirmed})"
    )
    columns = (
        "event_id, type, key, lane, body, size, headers, correlation_id, published_at"
    )
    values = (
        "gen_random_uuid(), 'payment.completed', 'payments.payment:' || seq % 100000, "
        f"seq % 32, '{BODY}', 60, '{{}}', ''"
    )
    now = "statement_timestamp()"
    with connections[alias].cursor() as cursor:
        cursor.execute(f"TRUNCATE {table} RESTART IDENTITY")
        cursor.execute(
            f"INSERT INTO {table} ({columns}, confirmed_at) "
            f"SELECT {values}, {moment}, {moment} + INTERVAL '20 ms' "
            f"FROM generate_series(1, {confirmed}) AS s(seq)"
        )
        cursor.execute(
            f"INSERT INTO {table} ({columns}) SELECT {values}, {now} "
            f"FROM generate_series(1, {PENDING}) AS s(seq)"
        )
        cursor.execute(
            f"INSERT INTO {table} ({columns}, parked_at, parked_reason, last_error) "
            f"SELECT {values}, {now}, {now}, 'r' || seq % 10, 'no queue' "
            f"FROM generate_series(1, {PARKED}) AS s(seq)"
        )
        cursor.execute(f"VACUUM ANALYZE {table}")


def log_in() -> Any:
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Group, Permission
    from django.test import Client

    from django_strangler import feature_flags
    from django_strangler.clock import DatabaseNow
    from django_strangler.models import ConsumerProcess, Lane, RelayProcess

    for number in range(100):
        feature_flags.set_rollout(f"flag-{number}", number, by="ada", why="a reason")
    relays = [
        RelayProcess.objects.create(
            name=f"relay-{n}", length=600, expires_at=DatabaseNow(590)
        )
        for n in range(4)
    ]
    Lane.objects.bulk_create(
        Lane(number=n, relay=relays[n % 4].token) for n in range(32)
    )
    for number in range(10):
        ConsumerProcess.objects.create(name=f"consumer-{number}", queue="receipts")
    user = get_user_model().objects.create_user("oncall", is_staff=True)
    group = Group.objects.create(name="on call")
    group.permissions.set(
        Permission.objects.filter(content_type__app_label="strangler")
    )
    user.groups.add(group)
    client = Client()
    client.force_login(user)
    return client


def measure(client: Any, alias: str, url: str, explain: bool) -> tuple[float, int]:
    from django.db import connections
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connections[alias]) as captured:
        assert client.get(url).status_code == 200
    queries, times = list(captured), []
    before = processor_times(alias)
    for _ in range(ROUNDS):
        start = time.perf_counter()
        client.get(url)
        times.append((time.perf_counter() - start) * 1000)
    python, database = (
        (now - then) * 1000 / ROUNDS
        for now, then in zip(processor_times(alias), before, strict=True)
    )
    print(
        f"  {url:44} {len(queries)} queries, {python + database:.1f} ms: "
        f"{python:.1f} Python, {database:.1f} PostgreSQL; "
        f"by the clock {statistics.median(times):.1f}, from {min(times):.1f}",
        flush=True,
    )
    if explain:
        for query in queries:
            if "outboxevent" in query["sql"]:
                with connections[alias].cursor() as cursor:
                    cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {query['sql']}")
                    print(*(f"    {line[:150]}" for (line,) in cursor), sep="\n")
    return python + database, len(queries)


def processor_times(alias: str) -> tuple[float, float]:
    """Seconds: of this process, and of its connection's process in PostgreSQL."""
    from django.db import connections

    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return time.process_time(), ticks / os.sysconf("SC_CLK_TCK")


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    os.environ.setdefault("DEBUG", "0")
    import django

    django.setup()
    from django.test import override_settings
    from django.urls import reverse

    from django_strangler.models import OutboxEvent
    from tests.benchmarks.servers import servers

    parser = argparse.ArgumentParser()
    parser.add_argument("--confirmed", type=int, default=5_000_000)
    parser.add_argument("--explain", action="store_true")
    options = parser.parse_args()
    missed = False
    with (
        servers() as (_, databases),
        databases.fresh("postgresql") as Everything.alias,
        override_settings(
            ALLOWED_HOSTS=["testserver"], DATABASE_ROUTERS=[Everything()]
        ),
    ):
        alias = Everything.alias
        client = log_in()
        for name, seconds in SPREADS.items():
            fill(alias, options.confirmed, seconds)
            print(f"{name}, {options.confirmed:,} confirmed:", flush=True)
            middle = OutboxEvent.objects.get(pk=options.confirmed // 2)
            for url in (
                "/admin/strangler/",
                reverse("admin:strangler_outboxevent_change", args=[middle.pk]),
            ):
                time_, count = measure(client, alias, url, options.explain)
                missed |= time_ > MILLISECONDS or count > QUERIES
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
