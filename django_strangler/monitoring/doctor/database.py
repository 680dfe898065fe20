"""Whether the database is as relays and publishers need it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from django_strangler.databases import fetch
from django_strangler.findings import Finding, Level
from django_strangler.outbox.models import INDEX, INDEX_NAME, OutboxEvent

TABLE = OutboxEvent._meta.db_table


def examine(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    """Look at what is connected."""
    version = ".".join(map(str, connection.get_database_version()))
    yield Finding(Level.FINE, f"{connection.display_name} {version} answers")
    executor = MigrationExecutor(connection)
    targets = [key for key in executor.loader.graph.leaf_nodes() if _is_ours(key)]
    if missing := executor.migration_plan(targets):
        names = ", ".join(migration.name for migration, _ in missing)
        yield Finding(
            Level.TROUBLE,
            f"Migrations are missing: {names}",
            f"manage.py migrate strangler --database {connection.alias}",
        )
        return
    yield from _isolation(connection)
    yield from _index(connection)
    yield from _sequence(connection)


def _isolation(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    sql = {
        "postgresql": "SHOW default_transaction_isolation",
        "mysql": "SHOW VARIABLES WHERE variable_name IN "
        "('tx_isolation', 'transaction_isolation')",
    }.get(connection.vendor)
    if sql is None:
        return
    level = str(fetch(connection, sql)[0][-1]).replace("-", " ").lower()
    options = connection.settings_dict["OPTIONS"]
    if connection.vendor == "postgresql" and "isolation_level" in options:
        given: Any = connection.isolation_level  # type: ignore[attr-defined]
        level = given.name.replace("_", " ").lower()
    if level == "read committed":
        yield Finding(Level.FINE, "Transactions are READ COMMITTED")
    else:
        yield Finding(
            Level.TROUBLE,
            f"Transactions are {level.upper()}: requests that publish with the "
            "same idempotency key at once, and subscribers of the same event, fail "
            "with serialization errors",
            f"DATABASES[{connection.alias!r}]['OPTIONS']: leave isolation_level out, "
            'or set it to "read committed"',
        )


def _index(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    """Whether the one index is there, and whole."""
    is_postgresql = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, TABLE)
    if INDEX_NAME not in found:
        without_locks = "CONCURRENTLY " if is_postgresql else ""
        yield Finding(
            Level.TROUBLE,
            f"The index {INDEX_NAME} is missing: the relay reads all of {TABLE}",
            f"CREATE INDEX {without_locks}{INDEX_NAME} ON {TABLE} "
            f"({', '.join(INDEX)});",
        )
        return
    if is_postgresql and not _is_valid(connection):
        yield Finding(
            Level.TROUBLE,
            f"The index {INDEX_NAME} is invalid, as a CREATE INDEX CONCURRENTLY that "
            f"failed leaves it: the relay reads all of {TABLE}",
            f"REINDEX INDEX CONCURRENTLY {INDEX_NAME};",
        )
        return
    yield Finding(Level.FINE, f"The index {INDEX_NAME} is there")


def _is_valid(connection: BaseDatabaseWrapper) -> bool:
    sql = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"
    return all(valid for (valid,) in fetch(connection, sql, [INDEX_NAME]))


def _sequence(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    """Ids are the order of publishing: a session must not take some in advance."""
    if connection.vendor == "postgresql":
        found = fetch(
            connection,
            "SELECT seqrelid::regclass::text, seqcache FROM pg_sequence "
            "WHERE seqrelid = pg_get_serial_sequence(%s, 'id')::regclass",
            [TABLE],
        )
        if not found:
            yield Finding(
                Level.UNKNOWN,
                f"{TABLE} owns no sequence, so how its ids are handed out is not known",
                f"ALTER SEQUENCE … OWNED BY {TABLE}.id;",
            )
            return
        ((name, cache),) = found
        what = f"The sequence {name} hands each session {cache} ids at once"
        todo = f"ALTER SEQUENCE {name} CACHE 1;"
    elif connection.vendor == "mysql":
        ((cache,),) = fetch(connection, "SELECT @@auto_increment_increment")
        what = f"Ids are counted in steps of {cache}, as where several nodes write"
        todo = "SET GLOBAL auto_increment_increment = 1; let one node write."
    else:
        return
    if cache == 1:
        yield Finding(Level.FINE, "Ids are handed out one by one")
    else:
        yield Finding(
            Level.TROUBLE, f"{what}: later events of a key get lower ids", todo
        )


def _is_ours(key: tuple[str, str]) -> bool:
    return key[0] == "strangler"
