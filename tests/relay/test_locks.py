"""Who waits for whom in the database: no publisher for a relay."""

from __future__ import annotations

import statistics
import threading
import time

import pytest
from django.db import connections, transaction

from django_strangler.brokers import memory
from django_strangler.events import Event
from django_strangler.outbox.publishing import publish_event, publish_events
from django_strangler.outbox.retention import prune
from tests.relay.factories import (
    make_relay,
    pending,
    publish,
    rows_sent,
    running,
)
from tests.services.fixtures import MakeDb
from tests.services.mariadb import PrivateMariaDB
from tests.waiting import wait_for


def test_a_deadlock_is_repeated_and_never_seen(
    postgresql_db: str, far: memory.MemoryExchange, caplog: pytest.LogCaptureFixture
) -> None:
    """A transaction locks rows of a mark from the other end."""
    rows = publish(postgresql_db, "a", "b")
    other = connections[postgresql_db].copy()
    other.set_autocommit(False)
    with connections[postgresql_db].cursor() as cursor:
        cursor.execute("SET deadlock_timeout = '3s'")  # So that ours is the victim.
    with other.cursor() as cursor:
        cursor.execute("SET deadlock_timeout = '10s'")
        table = "strangler_outboxevent"
        lock = f"SELECT 1 FROM {table} WHERE id = %s FOR UPDATE"
        cursor.execute(lock, [rows[1]])

        def lock_the_other() -> None:
            with other.cursor() as cursor:
                wait_for(lambda: is_blocked(postgresql_db))
                cursor.execute(lock, [rows[0]])
            other.rollback()

        other.inc_thread_sharing()
        thread = threading.Thread(target=lock_the_other)
        thread.start()
        make_relay(postgresql_db, far).drain()
        thread.join()
    other.close()

    assert rows_sent(far) == rows
    assert not caplog.records


def is_blocked(alias: str) -> bool:
    """Whether any statement waits for a lock."""
    watcher = connections[alias].copy()
    try:
        with watcher.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                "AND datname = current_database()"
            )
            return bool(cursor.fetchone()[0])
    finally:
        watcher.close()


@pytest.mark.parametrize("retention", [0.0, 60.0])
def test_no_publisher_waits_for_a_relay_on_mariadb(
    retention: float,
    private_mariadb: PrivateMariaDB,
    make_db: MakeDb,
    far: memory.MemoryExchange,
) -> None:
    """A publisher under REPEATABLE READ, and a table smaller than a batch."""
    alias = make_db(private_mariadb)
    with connections[alias].cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        before = row_lock_waits(cursor)
    with running(alias, far, retention=retention, poll_interval=0.01):
        for part in range(150):
            with transaction.atomic(using=alias):
                given = [Event(type="a.b", payload={}, key=f"k{n}") for n in range(3)]
                publish_events(given, using=alias)
                publish_event("a.b", {}, key=f"k{part % 5}", using=alias)
        wait_for(lambda: not pending(alias))
    for _ in prune(alias, older_than=0):
        pass
    with connections[alias].cursor() as cursor:
        assert row_lock_waits(cursor) == before


def row_lock_waits(cursor) -> int:
    cursor.execute("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_waits'")
    return int(cursor.fetchone()[1])


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
def test_no_publisher_waits_for_a_relay_on_postgresql(
    isolation: str, postgresql_db: str, far: memory.MemoryExchange
) -> None:
    alias = postgresql_db
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SET default_transaction_isolation = '{isolation.lower()}'")
    stop = threading.Event()
    waiting: list[tuple[str]] = []

    def sample() -> None:
        watcher = connections[alias].copy()
        watcher.inc_thread_sharing()
        with watcher.cursor() as cursor:
            while not stop.is_set():
                cursor.execute(
                    "SELECT query FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                    # Of two that make a table's file longer, one waits for a moment.
                    "AND wait_event <> 'extend' AND datname = current_database()"
                )
                waiting.extend(cursor.fetchall())
        watcher.close()

    thread = threading.Thread(target=sample)
    thread.start()
    with running(alias, far):
        for part in range(200):
            publish(alias, *[f"k{n}" for n in range(part % 7)], "")
        wait_for(lambda: not pending(alias))
    stop.set()
    thread.join()

    assert not [query for (query,) in waiting if "outboxevent" in query]


def test_two_writers_on_sqlite_beside_a_relay_are_never_locked_out(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    publish(sqlite_db, *[f"k{n % 100}" for n in range(3000)])
    took: list[float] = []
    errors: list[Exception] = []

    def write(name: str) -> None:
        try:
            for number in range(60):
                started = time.monotonic()
                with transaction.atomic(using=sqlite_db):
                    publish_event("a.b", {}, key=f"{name}-{number}", using=sqlite_db)
                took.append(time.monotonic() - started)
                threading.Event().wait(max(0.0, 0.02 - took[-1]))
        except Exception as error:  # noqa: BLE001
            errors.append(error)
        finally:
            connections[sqlite_db].close()

    with running(sqlite_db, far):
        threads = [threading.Thread(target=write, args=[name]) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_for(lambda: not pending(sqlite_db))

    assert not errors
    assert len(far.sent) == 3120
    assert statistics.median(took) < 0.5
