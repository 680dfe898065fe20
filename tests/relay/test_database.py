"""A database that is slow, silent or gone; locks; and SQLite's one writer."""

from __future__ import annotations

import itertools
import logging
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import OperationalError, connections, transaction

from django_strangler.brokers import memory
from django_strangler.events import Event
from django_strangler.outbox.publishing import publish_event, publish_events
from django_strangler.outbox.relay import Relay
from django_strangler.outbox.retention import prune
from django_strangler.outbox.timeouts import own_connection
from tests.relay.factories import (
    events,
    make_relay,
    pending,
    publish,
    rows_sent,
)
from tests.services.fixtures import MakeDb, MakeProxy
from tests.services.mariadb import PrivateMariaDB
from tests.waiting import wait_for


@contextmanager
def running(alias: str, far: memory.MemoryExchange, **options) -> Iterator[Relay]:
    """A relay in a thread, on an impatient connection of its own."""
    stop = threading.Event()
    relays: list[Relay] = []
    patience = options.pop("read_timeout", 30.0)

    def run() -> None:
        with own_connection(connections[alias], read_timeout=patience):
            relays.append(make_relay(alias, far, stop=stop, **options))
            relays[0].run()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_for(lambda: relays and relays[0].leases.lanes)
        yield relays[0]
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def test_a_postgresql_that_never_answers_is_noticed(
    private_postgresql,
    make_db: MakeDb,
    far: memory.MemoryExchange,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its host's kernel still acknowledges everything: no timeout of TCP helps."""
    alias = make_db(private_postgresql)
    with caplog.at_level(logging.WARNING), running(alias, far, read_timeout=0.6):
        private_postgresql.pause()
        try:
            wait_for(lambda: "the relay waits for it" in caplog.text, 15)
        finally:
            # Or taking the database down would wait for ever.
            private_postgresql.resume()
        (row,) = publish(alias, "a")
        wait_for(lambda: rows_sent(far) == [row], 20)
        wait_for(lambda: not pending(alias))

    assert caplog.text.count("the relay waits for it") == 1


@pytest.mark.parametrize("vendor", ["postgresql", "mariadb"])
def test_a_network_that_swallows_everything_loses_nothing(
    vendor: str,
    make_db: MakeDb,
    make_proxy: MakeProxy,
    request: pytest.FixtureRequest,
    far: memory.MemoryExchange,
) -> None:
    proxy = make_proxy(request.getfixturevalue(vendor))
    options = {"read_timeout": 1, "connect_timeout": 1} if vendor == "mariadb" else {}
    alias = make_db(vendor, port=proxy.port, **options)
    rows = publish(alias, *[f"k{n % 7}" for n in range(300)])
    connections[alias].close()
    far.hold_outcomes()
    with running(alias, far, read_timeout=0.6, lease=1.0) as relay:
        wait_for(lambda: far.sent)
        proxy.black_hole()
        far.release_outcomes(list)
        wait_for(lambda: relay._database_error is not None, 15)
        proxy.heal()
        wait_for(lambda: not pending(alias), 20)

    assert set(rows_sent(far)) == set(rows)
    assert all(event.state == "confirmed" for event in events(alias).values())


def test_what_fails_every_second_time_does_not_fill_the_log(
    sqlite_db: str, far: memory.MemoryExchange, caplog: pytest.LogCaptureFixture
) -> None:
    relay = make_relay(sqlite_db, far)
    turn = itertools.count()

    def fails_every_second_time() -> None:
        if next(turn) % 2:
            raise OperationalError("disk full")

    with caplog.at_level(logging.INFO):
        for _ in range(10):
            relay._guarded(fails_every_second_time)

    assert caplog.text.count("disk full") == 1
    assert "is back" not in caplog.text


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
                wait_for(lambda: is_blocked(postgresql_db), 20)
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
        wait_for(lambda: not pending(sqlite_db), 20)

    assert not errors
    assert len(far.sent) == 3120
    assert statistics.median(took) < 0.05


@pytest.mark.parametrize("vendor", ["postgresql", "mariadb"])
def test_a_mark_goes_by_primary_key_whatever_the_statistics_say(
    vendor: str, make_db: MakeDb, far: memory.MemoryExchange
) -> None:
    """Those of a quiet hour: hardly anything is pending. Then a backlog comes."""
    alias = make_db(vendor)
    connection = connections[alias]
    publish(alias, *["a"] * 2000)
    make_relay(alias, far).drain()
    with connection.cursor() as cursor:
        table = "strangler_outboxevent"
        analyze = "ANALYZE TABLE" if connection.vendor == "mysql" else "ANALYZE"
        cursor.execute(f"{analyze} {table}")
    rows = publish(alias, *["a"] * 500)
    plans: list[str] = []

    def explain(execute, sql: str, params, many, context) -> object:
        if sql.startswith("UPDATE"):
            execute(f"EXPLAIN {sql}", params, many, context)
            plans.extend(map(str, context["cursor"].fetchall()))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        relay = make_relay(alias, far)
        relay.store.confirm(rows)
        relay.store.retry(rows, error="", seconds=1, token=relay.leases.token)

    assert plans
    assert not [plan for plan in plans if "strangler_outbox_queue" in plan]


@pytest.mark.parametrize(
    ("vendor", "question"),
    [
        ("postgresql", "SHOW transaction_isolation"),
        ("mariadb", "SELECT @@tx_isolation"),
    ],
)
def test_whoever_uses_the_connection_next_finds_it_as_it_was(
    vendor: str, question: str, make_db: MakeDb, far: memory.MemoryExchange
) -> None:
    """A Celery worker's, say, that goes on to other tasks."""
    connection = connections[make_db(vendor)]
    publish(connection.alias, "a")

    def state() -> tuple[object, bool]:
        with connection.cursor() as cursor:
            cursor.execute(question)
            return cursor.fetchone(), connection.get_autocommit()

    before = state()

    make_relay(connection.alias, far, steady=False).drain()

    assert state() == before


def test_with_statistics_sqlite_still_reads_by_the_index(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    publish(sqlite_db, *["a"] * 500)
    make_relay(sqlite_db, far).drain()
    publish(sqlite_db, "a")
    connection = connections[sqlite_db]
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    connection.close()  # Statistics are read by new connections.
    plans: list[str] = []

    def explain(execute, sql: str, params, many, context) -> object:
        execute(f"EXPLAIN QUERY PLAN {sql}", params, many, context)
        plans.extend(row[3] for row in context["cursor"].fetchall())
        return execute(sql, params, many, context)

    store = make_relay(sqlite_db, far).store
    with connection.execute_wrapper(explain):
        store.read(range(32), 10)
        store.read([1, 2], 10, without_rows=[1], without_keys=["b"])
        store.read_delayed(range(32), 10)

    table = "strangler_outboxevent"
    of_the_table = [plan for plan in plans if table in plan]
    assert len(of_the_table) == 3
    assert all(f"{table} USING INDEX" in plan for plan in of_the_table)
    assert not [plan for plan in plans if "TEMP B-TREE" in plan]
