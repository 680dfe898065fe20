"""A database that is not as relays and publishers need it."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connections

from django_strangler import conf
from django_strangler.monitoring.doctor import database
from tests.monitoring.factories import add_relay, fill

from .conftest import only_trouble, troubles


def test_migrations_that_are_missing(sqlite_db, examine):
    call_command("migrate", "strangler", "0002", database=sqlite_db, verbosity=0)

    found = troubles(examine(sqlite_db))

    assert (
        "database",
        "Migrations are missing: 0003_inbox, 0004_permissions",
        f"manage.py migrate strangler --database {sqlite_db}",
    ) in found


def test_an_index_that_is_missing(each_sound, examine):
    on = (
        " ON strangler_outboxevent" if connections[each_sound].vendor == "mysql" else ""
    )
    with connections[each_sound].cursor() as cursor:
        cursor.execute(f"DROP INDEX strangler_outbox_queue{on}")

    part, what, todo = only_trouble(examine(each_sound))

    assert (part, "strangler_outbox_queue is missing" in what) == ("database", True)
    with connections[each_sound].cursor() as cursor:
        cursor.execute(todo)
    assert not troubles(examine(each_sound))


@pytest.mark.parametrize(
    ("vendor", "level"), [("postgresql", 3), ("mariadb", "repeatable read")]
)
def test_an_isolation_that_fails_publishers(make_db, examine, vendor, level):
    alias = make_db(vendor, isolation_level=level)
    add_relay(alias)

    part, what, todo = only_trouble(examine(alias))

    assert (part, "Transactions are REPEATABLE READ" in what) == ("database", True)
    assert '"read committed"' in todo


def test_statistics_that_mislead_the_planner(postgresql_db, examine):
    add_relay(postgresql_db)
    fill(postgresql_db, confirmed=12_000)
    with connections[postgresql_db].cursor() as cursor:
        # As if everything were pending.
        cursor.execute("ALTER TABLE strangler_outboxevent SET (autovacuum_enabled=off)")
        cursor.execute("SET enable_indexscan = off")
        cursor.execute("SET enable_bitmapscan = off")
        cursor.execute("SET enable_indexonlyscan = off")
        settings = conf.Settings()
        (finding,) = database.index(connections[postgresql_db], settings)

    assert finding.level == "trouble"
    assert finding.todo == "ANALYZE strangler_outboxevent;"


def test_an_index_that_was_never_finished(postgresql_db, examine):
    add_relay(postgresql_db)
    with connections[postgresql_db].cursor() as cursor:
        cursor.execute(
            "UPDATE pg_index SET indisvalid = false "
            "WHERE indexrelid = 'strangler_outbox_queue'::regclass"
        )

    part, what, todo = only_trouble(examine(postgresql_db))

    assert (part, "strangler_outbox_queue is invalid" in what) == ("database", True)
    with connections[postgresql_db].cursor() as cursor:
        cursor.execute(todo)
    assert not troubles(examine(postgresql_db))


def test_an_index_that_is_possible_is_not_yet_one_that_is_used(mariadb_db):
    fill(mariadb_db, pending=3_000)
    connection = connections[mariadb_db]
    table = "strangler_outboxevent"

    # All rows are pending, so MariaDB knows the index, and reads the table.
    everything = f"SELECT body FROM {table} WHERE confirmed_at IS NULL"
    assert not database.goes_by_index(connection, everything, [])
    ids = f"SELECT id FROM {table} WHERE confirmed_at IS NULL AND parked_at IS NULL"
    assert database.goes_by_index(connection, ids, [])


def test_ids_that_come_from_nowhere_known(postgresql_db, examine):
    add_relay(postgresql_db)
    with connections[postgresql_db].cursor() as cursor:
        cursor.execute("ALTER TABLE strangler_outboxevent ALTER id DROP IDENTITY")

    found = examine(postgresql_db)

    assert not troubles(found)
    (unknown,) = [it for it in found if it.level == "unknown"]
    assert "strangler_outboxevent owns no sequence" in unknown.what


def test_a_sequence_that_hands_out_ids_in_advance(postgresql_db, examine):
    add_relay(postgresql_db)
    with connections[postgresql_db].cursor() as cursor:
        cursor.execute("ALTER SEQUENCE strangler_outboxevent_id_seq CACHE 20")

    part, what, todo = only_trouble(examine(postgresql_db))

    assert (part, "hands each session 20 ids at once" in what) == ("database", True)
    with connections[postgresql_db].cursor() as cursor:
        cursor.execute(todo)
    assert not troubles(examine(postgresql_db))


def test_ids_in_steps(make_db, examine):
    alias = make_db("mariadb", init_command="SET auto_increment_increment = 3")
    add_relay(alias)

    part, what, _ = only_trouble(examine(alias))

    assert (part, "in steps of 3" in what) == ("database", True)


def test_a_pooler_that_swallows_notify(pooled_db, examine):
    add_relay(pooled_db)

    part, what, todo = only_trouble(examine(pooled_db))

    assert (part, "LISTEN hears nothing" in what) == ("database", True)
    assert "STRANGLER['NOTIFY'] to False" in todo
    assert not troubles(examine(pooled_db, NOTIFY=False))
