"""Each test has a database to itself, on each kind of server."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress

import pytest
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError, connections, transaction

from . import mariadb as mariadb_module
from .databases import database_url
from .leftovers import ROOT, mark
from .stores import MariaDBStore, PostgreSQLStore


@pytest.mark.parametrize("time", ["first", "second"])
def test_a_database_is_migrated_and_fresh_each_time(any_db, time) -> None:
    groups = Group.objects.using(any_db)

    assert ContentType.objects.using(any_db).filter(app_label="auth").exists()
    assert groups.count() == 0
    groups.create(name="left behind")
    assert not connections[any_db].in_atomic_block


@pytest.mark.parametrize("time", ["first", "second"])
def test_a_rolled_back_database_is_fresh_each_time(any_db_rolled_back, time) -> None:
    alias = any_db_rolled_back

    assert Group.objects.using(alias).count() == 0
    with transaction.atomic(using=alias, durable=True):
        Group.objects.using(alias).create(name="left behind")


def nothing(cursor) -> None:
    pass


def write_and_delete(cursor) -> None:
    cursor.execute("INSERT INTO auth_group (name) VALUES ('gone')")
    cursor.execute("DELETE FROM auth_group")


def change_what_was_there(cursor) -> None:
    cursor.execute("UPDATE django_content_type SET model = 'other' LIMIT 1")


def change_the_schema(cursor) -> None:
    cursor.execute("ALTER TABLE auth_group MODIFY name varchar(151) NOT NULL")


def add_a_trigger(cursor) -> None:
    cursor.execute(
        "CREATE TRIGGER t BEFORE DELETE ON auth_group FOR EACH ROW SET @a = 1"
    )


@pytest.mark.parametrize(
    ("what", "serves_again"),
    [
        (nothing, True),
        (write_and_delete, True),
        (change_what_was_there, False),
        (change_the_schema, False),
        (add_a_trigger, False),
    ],
)
def test_a_database_serves_again_only_if_it_is_as_good_as_new(
    databases, django_db_blocker, mariadb, monkeypatch, what, serves_again
) -> None:
    monkeypatch.setattr(MariaDBStore, "moment", 20.0)  # However busy the machine is.
    with django_db_blocker.unblock():
        with databases.fresh("mariadb") as alias:
            before = connections.databases[alias]["NAME"]
            with connections[alias].cursor() as cursor:
                what(cursor)

        with databases.fresh("mariadb") as alias:
            assert (connections.databases[alias]["NAME"] == before) is serves_again
            assert not Group.objects.using(alias).exists()
            assert Group.objects.using(alias).create(name="first").pk == 1


def test_another_process_finds_it_by_its_url(any_db) -> None:
    manage = [sys.executable, "testproject/manage.py", "migrate", "--check"]

    done = subprocess.run(
        manage,
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "DATABASE_URL": database_url(any_db),
        },
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr


def test_another_thread_sees_what_was_committed(any_db) -> None:
    seen = []

    def look() -> None:
        seen.append(Group.objects.using(any_db).get().name)
        connections.close_all()

    Group.objects.using(any_db).create(name="committed")
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()

    assert seen == ["committed"]


def test_a_query_that_goes_to_another_database_fails(any_db) -> None:
    with pytest.raises(AssertionError, match="'default' was asked for"):
        Group.objects.count()


@pytest.mark.django_db
def test_a_marked_test_has_the_default_database_as_well(sqlite_db) -> None:
    Group.objects.create(name="here")

    assert Group.objects.using(sqlite_db).count() == 0


def test_several_databases_have_names_of_their_own(make_db) -> None:
    one, two = make_db("sqlite"), make_db("sqlite")
    Group.objects.using(one).create(name="here")

    assert one != two
    assert Group.objects.using(two).count() == 0


def test_an_alias_is_gone_after_its_test(databases, django_db_blocker) -> None:
    with django_db_blocker.unblock(), databases.fresh("sqlite") as alias:
        assert alias in connections.databases

    assert alias not in connections.databases


@pytest.mark.parametrize("source", ["postgresql", "mariadb"])
def test_an_open_transaction_of_somebody_does_not_keep_it_alive(
    databases, django_db_blocker, source, request
) -> None:
    request.getfixturevalue(source)
    ended, hold = threading.Event(), threading.Event()

    def linger(alias: str) -> None:
        with suppress(DatabaseError), transaction.atomic(using=alias):
            Group.objects.using(alias).create(name="never committed")
            hold.set()
            ended.wait()
        connections[alias].close()

    with django_db_blocker.unblock():
        with databases.fresh(source) as alias:
            name = connections.databases[alias]["NAME"]
            thread = threading.Thread(target=linger, args=[alias])
            thread.start()
            hold.wait()

        assert name not in databases._stores[source].names()
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(connections.databases, alias, {})
            ended.set()
            thread.join()


def test_the_sessions_of_a_database_can_be_in_another_zone(make_db) -> None:
    alias = make_db("mariadb", init_command="SET time_zone = '+07:00'")

    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT @@time_zone")
        assert cursor.fetchone() == ("+07:00",)


def test_a_database_can_be_on_a_server_that_dies(make_db, private_postgresql) -> None:
    alias = make_db(private_postgresql)
    Group.objects.using(alias).create(name="committed")

    private_postgresql.kill()

    with pytest.raises(DatabaseError):
        Group.objects.using(alias).get()
    private_postgresql.start()
    connections[alias].close()
    assert Group.objects.using(alias).get().name == "committed"


@pytest.mark.parametrize("source", ["postgresql", "mariadb"])
def test_a_database_can_be_behind_a_network_that_breaks(
    make_db, make_proxy, request, source
) -> None:
    proxy = make_proxy(request.getfixturevalue(source))
    alias = make_db(source, port=proxy.port)
    Group.objects.using(alias).create(name="committed")

    proxy.cut()

    with pytest.raises(DatabaseError):
        Group.objects.using(alias).get()
    connections[alias].close()
    assert Group.objects.using(alias).get().name == "committed"


def test_names_of_dead_runs_are_swept_from_a_server_that_goes_on(postgresql) -> None:
    store = PostgreSQLStore(postgresql.url)
    ours, host = f"{mark()}_sweep", mark().rpartition("_")[0].rpartition("_")[0]
    dead, elsewhere = f"{host}_1_1_1", "strangler_00000000_1_1_1"
    for name in (ours, dead, elsewhere):
        store.create(name)

    store.sweep()

    left = store.names()
    assert dead not in left
    assert {ours, elsewhere} <= set(left)
    store.drop(ours)
    store.drop(elsewhere)


def test_a_copy_has_keys_defaults_and_the_next_number(mariadb_db) -> None:
    with mariadb_module.connect(database_url(mariadb_db)) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT COUNT(*) FROM information_schema.referential_constraints "
            "WHERE constraint_schema = %s",
            [connections.databases[mariadb_db]["NAME"]],
        )
        assert cursor.fetchone()[0] > 0
    kept = ContentType.objects.using(mariadb_db).latest("pk").pk
    new = ContentType.objects.using(mariadb_db).create(app_label="x", model="y")
    assert new.pk == kept + 1
