"""Statements that go by an index, whatever the statistics say."""

from __future__ import annotations

import pytest
from django.db import connections

from django_strangler.brokers import memory
from django_strangler.outbox.rows import Reach
from tests.relay.factories import make_relay, publish
from tests.services.fixtures import MakeDb


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
        relay.marks.confirm(rows)
        relay.marks.retry(rows, error="", seconds=1, token=relay.leases.token)

    assert plans
    assert not [plan for plan in plans if "strangler_outbox_queue" in plan]


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
        store.read(Reach(range(32)), 10)
        store.read(Reach([1, 2], without_rows=[1], without_keys=["b"]), 10)
        store.read_delayed(Reach(range(32)), 10)

    table = "strangler_outboxevent"
    of_the_table = [plan for plan in plans if table in plan]
    assert len(of_the_table) == 3
    assert all(f"{table} USING INDEX" in plan for plan in of_the_table)
    assert not [plan for plan in plans if "TEMP B-TREE" in plan]


@pytest.mark.parametrize("vendor", ["postgresql", "mariadb"])
def test_a_part_ends_where_the_index_says_whatever_the_statistics_say(
    vendor: str, make_db: MakeDb, far: memory.MemoryExchange
) -> None:
    """They know of what is held, and of nothing that has come since."""
    alias = make_db(vendor)
    connection, table = connections[alias], "strangler_outboxevent"
    held = publish(alias, *["a"] * 3000, type="mail.wanted")
    with connection.cursor() as cursor:
        # As after many rounds of publishing and pruning, there is a gap of ids.
        cursor.execute(f"UPDATE {table} SET id = id + 200000 WHERE id = {held[-1]}")
        analyze = "ANALYZE TABLE" if vendor == "mariadb" else "VACUUM ANALYZE"
        cursor.execute(f"{analyze} {table}")
        cursor.fetchall() if vendor == "mariadb" else None
        cursor.execute(f"DELETE FROM {table} WHERE id > {held[-1]}")
    rows = publish(alias, *["b"] * 2000)
    plans: list[str] = []

    def explain(execute, sql: str, params, many, context) -> object:
        execute(f"EXPLAIN {sql}", params, many, context)
        plans.extend(map(str, context["cursor"].fetchall()))
        return execute(sql, params, many, context)

    store = make_relay(alias, far).store
    with connection.execute_wrapper(explain):
        assert store.edge(rows[0], 500) == (rows[500], rows[-1])

    assert [plan for plan in plans if "strangler_outbox_queue" in plan]
    assert not [plan for plan in plans if "Sort" in plan or "filesort" in plan]
