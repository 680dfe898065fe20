"""
The outbox table's index against its alternatives; docs/decisions/0002-one-index.md.

    python -m tests.benchmarks.bench_index [confirmed rows, 1,000,000]

Each design publishes and drains the same number of events beside the confirmed rows:
reads of 500 and one mark for each. On PostgreSQL a second time while an old snapshot,
as of a backup, keeps dead rows from being tidied up. Then EXPLAIN of the relay's read.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

EVENTS = 20_000
BATCH = 500
COLUMNS = (
    "id {pk}, event_id {uuid} NOT NULL UNIQUE, type varchar(255) NOT NULL, "
    "event_key varchar(255) NOT NULL, lane smallint NOT NULL, body text NOT NULL, "
    "published_at {time} NOT NULL, available_at {time} NULL, confirmed_at {time} NULL, "
    "parked_at {time} NULL"
)
BODY = '{"paymentId":42,"userId":7,"amount":"12.50","currency":"EUR"}'
PENDING = "confirmed_at IS NULL AND parked_at IS NULL AND available_at IS NULL"


class Design(NamedTuple):
    indexes: tuple[str, ...]
    order: str = "id"
    deletes: bool = False  # On confirm; nothing is kept.
    narrow: bool = False  # A second table of what is pending.
    vendors: tuple[str, ...] = ("postgresql", "mysql")


DESIGNS = {
    "one wide index": Design(
        ("CREATE INDEX q ON {t} (confirmed_at, parked_at, available_at, id)",),
        order="wide",
    ),
    "partial index": Design(
        (f"CREATE INDEX q ON {{t}} (id) WHERE {PENDING}",), vendors=("postgresql",)
    ),
    "partial, and one to prune by": Design(
        (
            f"CREATE INDEX q ON {{t}} (id) WHERE {PENDING}",
            "CREATE INDEX c ON {t} (confirmed_at) WHERE confirmed_at IS NOT NULL",
        ),
        vendors=("postgresql",),
    ),
    "delete on confirm": Design((), deletes=True),
    "narrow pending table": Design((), narrow=True),
}


class Table:
    """One design on one database."""

    def __init__(self, connection: Any, design: Design) -> None:
        self.connection, self.design = connection, design
        self.vendor = connection.vendor
        types = (
            {
                "pk": "bigserial PRIMARY KEY",
                "uuid": "uuid",
                "time": "timestamptz",
            }
            if self.vendor == "postgresql"
            else {
                "pk": "bigint AUTO_INCREMENT PRIMARY KEY",
                "uuid": "uuid",
                "time": "datetime(6)",
            }
        )
        self.execute("DROP TABLE IF EXISTS bench, bench_pending")
        self.execute(f"CREATE TABLE bench ({COLUMNS.format(**types)})")
        for index in design.indexes:
            self.execute(index.format(t="bench"))
        if design.narrow:
            self.execute("CREATE TABLE bench_pending (id bigint PRIMARY KEY, lane int)")

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []

    def _rows(self, count: int, *, confirmed: bool) -> str:
        postgresql = self.vendor == "postgresql"
        series = (
            f"generate_series(1, {count}) AS s(seq)"
            if postgresql
            else f"seq_1_to_{count}"
        )
        uuid, now = (
            ("gen_random_uuid()", "statement_timestamp()")
            if postgresql
            else ("UUID()", "UTC_TIMESTAMP(6)")
        )
        past = (
            f"{now} - seq * INTERVAL '1 second'"
            if postgresql
            else f"{now} - INTERVAL seq SECOND"
        )
        return (
            "INSERT INTO bench "
            "(event_id, type, event_key, lane, body, published_at, confirmed_at) "
            f"SELECT {uuid}, 'payment.completed', 'payments.payment:42', seq % 32, "
            f"'{BODY}', {now}, {past if confirmed else 'NULL'} FROM {series}"
        )

    def load(self, count: int) -> None:
        if not self.design.deletes:
            self.execute(self._rows(count, confirmed=True))
        analyze = "VACUUM ANALYZE" if self.vendor == "postgresql" else "ANALYZE TABLE"
        self.execute(f"{analyze} bench")

    def publish(self) -> None:
        for _ in range(EVENTS // BATCH):
            last = self.execute("SELECT COALESCE(MAX(id), 0) FROM bench")[0][0]
            self.execute(self._rows(BATCH, confirmed=False))
            if self.design.narrow:
                self.execute(
                    "INSERT INTO bench_pending "
                    f"SELECT id, lane FROM bench WHERE id > {last}"
                )

    def read(self) -> list[int]:
        if self.design.narrow:
            sql = (
                "SELECT p.id, b.body FROM "
                f"(SELECT id FROM bench_pending ORDER BY id LIMIT {BATCH}) AS p "
                "JOIN bench b ON b.id = p.id ORDER BY p.id"
            )
        else:
            order = self.design.order
            if order == "wide":
                wide = "confirmed_at, parked_at, available_at, id"
                order = wide if self.vendor == "postgresql" else "id"
            sql = (
                f"SELECT id, body FROM bench WHERE {PENDING} "
                f"ORDER BY {order} LIMIT {BATCH}"
            )
        return [row[0] for row in self.execute(sql)]

    def mark(self, ids: list[int]) -> None:
        listed = ",".join(map(str, ids))
        if self.design.deletes:
            self.execute(f"DELETE FROM bench WHERE id IN ({listed})")
            return
        if self.design.narrow:
            self.execute(f"DELETE FROM bench_pending WHERE id IN ({listed})")
        now = (
            "statement_timestamp()"
            if self.vendor == "postgresql"
            else "UTC_TIMESTAMP(6)"
        )
        self.execute(f"UPDATE bench SET confirmed_at = {now} WHERE id IN ({listed})")

    def drain(self) -> tuple[float, float]:
        """Milliseconds of a read, the median and the last."""
        reads = []
        while True:
            start = time.perf_counter()
            ids = self.read()
            reads.append((time.perf_counter() - start) * 1000)
            if not ids:
                return statistics.median(reads), reads[-1]
            self.mark(ids)


@contextmanager
def old_snapshot(connection: Any) -> Iterator[None]:
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT 1 FROM bench LIMIT 1")
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")
    other.close()


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    from tests.benchmarks.servers import servers

    confirmed = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with servers() as (_, databases):
        for kind in ("postgresql", "mariadb"):
            with databases.fresh(kind) as alias:
                compare(alias, confirmed)
                explain(alias, confirmed)
        with databases.fresh("sqlite") as alias:
            explain(alias, confirmed)
    return 0


def timed(work: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def compare(alias: str, confirmed: int) -> None:
    from django.db import connections

    connection = connections[alias]
    print(
        f"\n{connection.display_name}, {confirmed:,} confirmed rows, {EVENTS:,} events"
    )
    print(f"{'':30} publish/s  drain/s  read ms  idle ms  snapshot: drain/s  read ms")
    for name, design in DESIGNS.items():
        if connection.vendor not in design.vendors:
            continue
        table = Table(connection, design)
        table.load(confirmed)
        published, _ = timed(table.publish)
        drained, (read, idle) = timed(table.drain)
        line = (
            f"{name:30} {EVENTS / published:9,.0f} {EVENTS / drained:8,.0f} "
            f"{read:8.2f} {idle:8.2f}"
        )
        if connection.vendor == "postgresql":
            with old_snapshot(connection):
                table.publish()
                drained, (read, _) = timed(table.drain)
            line += f" {EVENTS / drained:19,.0f} {read:8.2f}"
        print(line, flush=True)
    table.execute("DROP TABLE IF EXISTS bench, bench_pending")


def explain(alias: str, confirmed: int) -> None:
    """EXPLAIN what the relay really sends, beside 1,000,000 confirmed rows."""
    from django.db import connections
    from django.test.utils import CaptureQueriesContext

    from django_strangler.models import OutboxEvent
    from django_strangler.outbox.lanes import LANES
    from django_strangler.outbox.rows import Reach
    from django_strangler.outbox.store import Store

    connection = connections[alias]
    table = OutboxEvent._meta.db_table
    series, uuid, past = {
        "postgresql": (
            f"generate_series(1, {confirmed}) AS s(seq)",
            "gen_random_uuid()",
            "statement_timestamp() - seq * INTERVAL '1 second'",
        ),
        "mysql": (
            f"seq_1_to_{confirmed}",
            "UUID()",
            "UTC_TIMESTAMP(6) - INTERVAL seq SECOND",
        ),
        "sqlite": (
            "(WITH RECURSIVE s(seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM s "
            f"WHERE seq < {confirmed}) SELECT seq FROM s)",
            "LOWER(HEX(RANDOMBLOB(16)))",
            "DATETIME('now', (-seq) || ' seconds')",
        ),
    }[connection.vendor]
    key = connection.ops.quote_name("key")
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} (event_id, type, {key}, lane, body, size, headers, "
            "correlation_id, published_at, confirmed_at) "
            f"SELECT {uuid}, 'payment.completed', 'payments.payment:42', seq % 32, "
            f"'{BODY}', 60, '{{}}', '', {past}, {past} FROM {series}"
        )
        OutboxEvent.objects.using(alias).bulk_create(
            OutboxEvent(type="a.b", body=BODY) for _ in range(10_000)
        )
        cursor.execute(
            f"ANALYZE {'TABLE ' if connection.vendor == 'mysql' else ''}{table}"
        )
    store = Store(connection)
    milliseconds = []
    for _ in range(5):
        with CaptureQueriesContext(connection) as queries:
            seconds, _ = timed(lambda: store.read(Reach(range(LANES)), 500))
        milliseconds.append(seconds * 1000)
    explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    print(
        f"\n{connection.display_name}: read of 500 beside {confirmed:,} confirmed rows:"
    )
    print(f"{statistics.median(milliseconds):.1f} ms in Python and all; {explain}:")
    with connection.cursor() as cursor:
        cursor.execute(f"{explain} {queries[0]['sql']}")
        for row in cursor.fetchall():
            print("   ", *(column for column in row if column is not None))


if __name__ == "__main__":
    sys.exit(main())
