"""Whether the database is as relays and publishers need it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from django_strangler import conf
from django_strangler.brokers.base import Finding
from django_strangler.outbox.listening import Wakeup
from django_strangler.outbox.models import INDEX, INDEX_NAME, OutboxEvent
from django_strangler.outbox.store import Store

LARGE = 10_000  # Rows; on a smaller table, to read all of it is no mistake.
TABLE = OutboxEvent._meta.db_table


def examine(
    connection: BaseDatabaseWrapper, settings: conf.Settings
) -> Iterator[Finding]:
    """Look at what is connected."""
    version = ".".join(map(str, connection.get_database_version()))
    yield Finding("fine", f"{connection.display_name} {version} answers")
    executor = MigrationExecutor(connection)
    targets = [key for key in executor.loader.graph.leaf_nodes() if _is_ours(key)]
    if missing := executor.migration_plan(targets):
        names = ", ".join(migration.name for migration, _ in missing)
        yield Finding(
            "trouble",
            f"Migrations are missing: {names}",
            f"manage.py migrate strangler --database {connection.alias}",
        )
        return
    yield from _isolation(connection)
    yield from index(connection, settings)
    yield from _sequence(connection)
    yield from _notify(connection, settings)


def _isolation(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    sql = {
        "postgresql": "SHOW default_transaction_isolation",
        "mysql": "SHOW VARIABLES WHERE variable_name IN "
        "('tx_isolation', 'transaction_isolation')",
    }.get(connection.vendor)
    if sql is None:
        return
    level = str(_ask(connection, sql)[0][-1]).replace("-", " ").lower()
    options = connection.settings_dict["OPTIONS"]
    if connection.vendor == "postgresql" and "isolation_level" in options:
        given: Any = connection.isolation_level  # type: ignore[attr-defined]
        level = given.name.replace("_", " ").lower()
    if level == "read committed":
        yield Finding("fine", "Transactions are READ COMMITTED")
    else:
        yield Finding(
            "trouble",
            f"Transactions are {level.upper()}: requests that publish with the "
            "same idempotency key at once, and subscribers of the same event, fail "
            "with serialization errors",
            f"DATABASES[{connection.alias!r}]['OPTIONS']: leave isolation_level out, "
            'or set it to "read committed"',
        )


def index(
    connection: BaseDatabaseWrapper, settings: conf.Settings
) -> Iterator[Finding]:
    """Whether the one index is there, and the relay's own queries go by it."""
    is_postgresql = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, TABLE)
    if INDEX_NAME not in found:
        without_locks = "CONCURRENTLY " if is_postgresql else ""
        yield Finding(
            "trouble",
            f"The index {INDEX_NAME} is missing: the relay reads all of {TABLE}",
            f"CREATE INDEX {without_locks}{INDEX_NAME} ON {TABLE} "
            f"({', '.join(INDEX)});",
        )
        return
    if is_postgresql and not _is_valid(connection):
        yield Finding(
            "trouble",
            f"The index {INDEX_NAME} is invalid, as a CREATE INDEX CONCURRENTLY that "
            f"failed leaves it: the relay reads all of {TABLE}",
            f"REINDEX INDEX CONCURRENTLY {INDEX_NAME};",
        )
        return
    for name, sql, params in _statements(connection, settings):
        if goes_by_index(connection, sql, params):
            continue
        if _is_small(connection):
            what = "is there, and the table too small to need it"
            yield Finding("fine", f"The index {INDEX_NAME} {what}")
            return
        analyze = "ANALYZE TABLE" if connection.vendor == "mysql" else "ANALYZE"
        yield Finding(
            "trouble",
            f"The relay's {name} goes without the index {INDEX_NAME}",
            f"{analyze} {TABLE};",
        )
        return
    yield Finding("fine", f"The relay reads by the index {INDEX_NAME}")


def _is_valid(connection: BaseDatabaseWrapper) -> bool:
    sql = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"
    return all(valid for (valid,) in _ask(connection, sql, [INDEX_NAME]))


def _statements(
    connection: BaseDatabaseWrapper, settings: conf.Settings
) -> list[tuple[str, str, Any]]:
    """What a relay asks, as it asks it: name, SQL and parameters."""
    store, seen = Store(connection), []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        store.read(range(32), 1)
        store.read_delayed(range(32), 1)
        store.old(settings.retention, 1)
    names = ("read", "read of delayed events", "search for what is to be pruned")
    return [(name, *each) for name, each in zip(names, seen, strict=True)]


def goes_by_index(connection: BaseDatabaseWrapper, sql: str, params: Any) -> bool:
    """Whether the plan of this statement uses our index."""
    plan = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.execute(f"{plan} {sql}", params)
        names = [column[0] for column in cursor.description]
        lines = cursor.fetchall()
    if "key" in names:
        # MySQL and MariaDB also name the indexes that they did not choose.
        return INDEX_NAME in [line[names.index("key")] for line in lines]
    return INDEX_NAME in "\n".join(map(str, lines))


def _is_small(connection: BaseDatabaseWrapper) -> bool:
    rows = OutboxEvent.objects.using(connection.alias).order_by().values("pk")
    return rows[:LARGE].count() < LARGE


def _sequence(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    """Ids are the order of publishing: nobody may take some in advance."""
    if connection.vendor == "postgresql":
        found = _ask(
            connection,
            "SELECT seqrelid::regclass::text, seqcache FROM pg_sequence "
            "WHERE seqrelid = pg_get_serial_sequence(%s, 'id')::regclass",
            [TABLE],
        )
        if not found:
            yield Finding(
                "unknown",
                f"{TABLE} owns no sequence, so how its ids are handed out is not known",
                f"ALTER SEQUENCE … OWNED BY {TABLE}.id;",
            )
            return
        ((name, cache),) = found
        what = f"The sequence {name} hands each session {cache} ids at once"
        todo = f"ALTER SEQUENCE {name} CACHE 1;"
    elif connection.vendor == "mysql":
        ((cache,),) = _ask(connection, "SELECT @@auto_increment_increment")
        what = f"Ids are counted in steps of {cache}, as where several nodes write"
        todo = "SET GLOBAL auto_increment_increment = 1; let one node write."
    else:
        return
    if cache == 1:
        yield Finding("fine", "Ids are handed out one by one")
    else:
        yield Finding("trouble", f"{what}: later events of a key get lower ids", todo)


def _notify(
    connection: BaseDatabaseWrapper, settings: conf.Settings
) -> Iterator[Finding]:
    if connection.vendor != "postgresql":
        return
    wakeup = Wakeup(connection, threading.Event(), settings)
    if not wakeup.can_listen():
        why = "needs psycopg 3.2" if settings.notify else "is off"
        pause = f"every {settings.poll_interval:g} s"
        yield Finding("fine", f"NOTIFY {why}: events are found by polling {pause}")
        return
    wakeup.wait(0)
    if wakeup.is_listening:
        yield Finding("fine", "NOTIFY wakes relays")
        wakeup.close()
        return
    yield Finding(
        "trouble",
        f"LISTEN hears nothing over {connection.alias!r}, as behind a "
        "transaction-pooling proxy: events wait for the next poll",
        "Run the relay over a direct connection: drain_outbox --database "
        "direct; or set STRANGLER['NOTIFY'] to False.",
    )


def _ask(
    connection: BaseDatabaseWrapper, sql: str, params: Any = ()
) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _is_ours(key: tuple[str, str]) -> bool:
    return key[0] == "strangler"
