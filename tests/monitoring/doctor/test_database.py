"""A database that is not as relays and publishers need it."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connections

from django_strangler.findings import Level
from tests.monitoring.factories import add_relay

from .conftest import only_trouble, troubles


def test_migrations_that_are_missing(sqlite_db, examine):
    call_command("migrate", "strangler", "0002", database=sqlite_db, verbosity=0)

    found = troubles(examine(sqlite_db))

    (missing,) = [each for each in found if "Migrations are missing" in each[1]]
    assert missing[1].startswith("Migrations are missing: 0003_inbox, 0004_permissions")
    assert missing[2] == f"manage.py migrate strangler --database {sqlite_db}"


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


def test_ids_that_come_from_nowhere_known(postgresql_db, examine):
    add_relay(postgresql_db)
    with connections[postgresql_db].cursor() as cursor:
        cursor.execute("ALTER TABLE strangler_outboxevent ALTER id DROP IDENTITY")

    found = examine(postgresql_db)

    assert not troubles(found)
    (unknown,) = [it for it in found if it.level is Level.UNKNOWN]
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
