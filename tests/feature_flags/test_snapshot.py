"""Speed without staleness, and a database that may be gone."""

from __future__ import annotations

import logging
from contextlib import suppress
from unittest import mock

import pytest
from django.db import DatabaseError, OperationalError, connections, transaction

from django_strangler import feature_flags
from django_strangler.exceptions import InsideEventLoop
from django_strangler.feature_flags import snapshot
from django_strangler.models import Flag, FlagVersion

from .conftest import Clock, queries

NAME = "notifications-v2"


def is_on() -> bool:
    return feature_flags.is_enabled(NAME, 1)


def changed_elsewhere(alias: str, **values: object) -> None:
    """Change the flag as another process does: nothing here is told."""
    other = connections[alias].copy()
    try:
        with other.cursor() as cursor:
            for field, value in values.items():
                cursor.execute(f"UPDATE strangler_flag SET {field} = %s", [value])
            cursor.execute("UPDATE strangler_flagversion SET stamp = 'another'")
    finally:
        other.close()


def test_a_warm_check_asks_nothing(flag_db, clock: Clock):
    feature_flags.set_rollout(NAME, 100)
    is_on()

    with queries(flag_db) as asked:
        for user in range(100):
            feature_flags.is_enabled(NAME, user)
            feature_flags.evaluate(NAME, str(user))

    assert asked == []


def test_one_cheap_query_after_each_refresh(flag_db, clock: Clock):
    feature_flags.set_rollout(NAME, 100)
    is_on()
    clock.pass_refresh()

    with queries(flag_db) as asked:
        is_on()
        is_on()

    assert len(asked) == 1
    assert "strangler_flagversion" in asked[0]


def test_the_refresh_is_a_setting(flag_db, clock: Clock, settings):
    feature_flags.set_rollout(NAME, 100)
    settings.STRANGLER = {"FLAG_REFRESH": 60}
    is_on()
    changed_elsewhere(flag_db, percentage=0)

    clock.time += 59
    assert is_on()
    clock.time += 2
    assert not is_on()


def test_a_change_elsewhere_is_seen_after_the_refresh(flag_db, clock: Clock):
    feature_flags.set_rollout(NAME, 100)
    assert is_on()
    changed_elsewhere(flag_db, percentage=0)

    assert is_on()
    clock.pass_refresh()
    assert not is_on()


def test_a_process_sees_its_own_change_at_once(flag_db, clock: Clock):
    for percentage in (0, 100, 0, 100):
        feature_flags.set_rollout(NAME, percentage)
        assert is_on() is (percentage == 100)
    Flag.objects.all().delete()
    assert not is_on()


def test_an_open_transaction_sees_its_change_and_a_rollback_undoes_it(
    flag_db, clock: Clock
):
    feature_flags.set_rollout(NAME, 0)
    assert not is_on()

    with suppress(RuntimeError), transaction.atomic(flag_db):
        feature_flags.set_rollout(NAME, 100)
        assert is_on()
        clock.pass_refresh()
        assert is_on()
        raise RuntimeError

    assert not is_on()


def test_a_savepoint_that_is_rolled_back_leaves_the_change_before_it(
    flag_db, clock: Clock
):
    feature_flags.set_rollout(NAME, 0)

    with transaction.atomic(flag_db):
        feature_flags.set_rollout(NAME, 100)
        with suppress(RuntimeError), transaction.atomic(flag_db):
            feature_flags.disable(NAME)
            assert not is_on()
            raise RuntimeError
        assert is_on()
        assert feature_flags.evaluate(NAME, 1).reason == "everybody"

    assert is_on()


def test_what_a_transaction_changed_serves_only_that_transaction(
    postgresql_db, route, clock: Clock
):
    route(postgresql_db)
    feature_flags.set_rollout(NAME, 0)
    is_on()

    with transaction.atomic(postgresql_db):
        feature_flags.set_rollout(NAME, 100)
        clock.pass_refresh()
        assert is_on()
        # What other threads of this process would be served.
        assert not snapshot._state.view.snapshot.flags[NAME].threshold

    assert is_on()


def test_a_hook_that_fails_before_ours_does_not_hide_the_change(flag_db, clock: Clock):
    feature_flags.set_rollout(NAME, 0)
    is_on()

    def fail() -> None:
        raise RuntimeError

    with suppress(RuntimeError), transaction.atomic(flag_db):
        transaction.on_commit(fail, using=flag_db)
        feature_flags.set_rollout(NAME, 100)

    assert is_on()


def test_a_refresh_cannot_break_the_callers_transaction(flag_db, clock: Clock):
    feature_flags.set_rollout(NAME, 100)
    assert is_on()
    with connections[flag_db].cursor() as cursor:
        cursor.execute("ALTER TABLE strangler_flagversion RENAME TO gone")

    clock.pass_refresh()
    with transaction.atomic(flag_db):
        assert is_on()
        assert Flag.objects.count() == 1  # PostgreSQL would refuse it.
    assert is_on()


def test_a_broken_transaction_is_left_alone(flag_db, clock: Clock):
    feature_flags.set_rollout(NAME, 100)
    assert is_on()
    clock.pass_refresh()

    with transaction.atomic(flag_db):
        transaction.set_rollback(True, using=flag_db)
        assert is_on()


def test_a_broken_transaction_in_a_fresh_process_gives_the_default(flag_db):
    with transaction.atomic(flag_db):
        transaction.set_rollback(True, using=flag_db)
        assert feature_flags.is_enabled(NAME, 1, default=True)
        assert feature_flags.evaluate(NAME, 1).reason == "unavailable"


def test_inside_a_transaction_the_snapshot_is_kept_as_well(flag_db, clock: Clock):
    feature_flags.set_rollout(NAME, 100)
    clock.pass_refresh()

    with transaction.atomic(flag_db):
        is_on()
        with queries(flag_db) as asked:
            is_on()

    assert asked == []


def test_a_long_snapshot_of_the_database_is_not_passed_off_as_the_latest(
    make_db, route, clock: Clock
):
    alias = route(make_db("mariadb", isolation_level="repeatable read"))
    feature_flags.set_rollout(NAME, 100)
    is_on()

    with transaction.atomic(alias):
        Flag.objects.count()  # From here on, the transaction sees nothing new.
        changed_elsewhere(alias, percentage=0)
        clock.pass_refresh()
        assert is_on()
        assert snapshot._state.view.until < clock.time

    assert not is_on()


def test_a_database_that_is_down_leaves_the_last_known_answers(
    flag_db, clock: Clock, caplog
):
    feature_flags.set_rollout(NAME, 100)
    assert is_on()

    with mock.patch.object(
        connections[flag_db], "cursor", side_effect=OperationalError("gone")
    ):
        for _ in range(3):
            clock.pass_refresh()
            assert is_on()
            assert not feature_flags.is_enabled("unheard-of", 1)

    cannot = [each for each in caplog.messages if "cannot be read" in each]
    assert cannot == [
        "The flags cannot be read (gone). Checks get the last known answers, or their "
        "default= if there are none. This is said once, until it works again."
    ]

    caplog.set_level(logging.INFO)
    clock.pass_refresh()
    assert is_on()
    assert "The flags can be read again." in caplog.messages


def test_while_it_is_down_it_is_asked_once_per_refresh(flag_db, clock: Clock):
    feature_flags.set_rollout(NAME, 100)
    is_on()
    clock.pass_refresh()

    with mock.patch.object(
        connections[flag_db], "cursor", side_effect=OperationalError("gone")
    ) as cursor:
        for _ in range(10):
            is_on()

    assert cursor.call_count == 1


def test_flags_that_could_never_be_read_are_their_default(flag_db, clock: Clock):
    with mock.patch.object(
        connections[flag_db], "cursor", side_effect=OperationalError("gone")
    ):
        assert not is_on()
        assert feature_flags.is_enabled(NAME, 1, default=True)
        assert feature_flags.evaluate(NAME, 1).reason == "unavailable"

    assert feature_flags.counts() == {(NAME, "default"): 3}


def test_tables_that_are_not_there_yet_are_a_default(make_db, route, clock: Clock):
    alias = route(make_db("postgresql"))
    with connections[alias].cursor() as cursor:
        cursor.execute("DROP TABLE strangler_flag, strangler_flagversion")

    assert feature_flags.is_enabled(NAME, 1, default=True)


def test_a_connection_that_the_server_closed_is_replaced(
    postgresql_db, route, clock: Clock
):
    route(postgresql_db)
    feature_flags.set_rollout(NAME, 100)
    is_on()
    other = connections[postgresql_db].copy()
    with other.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    other.close()

    clock.pass_refresh()
    assert is_on()
    clock.pass_refresh()
    changed_elsewhere(postgresql_db, percentage=0)
    assert not is_on()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("ramp", '{"x": 1}'),
        ("ramp", '{"steps": [["0001-01-01T00:00:00+14:00", "1"]]}'),
        ("excluded", "null"),
        ("excluded", '[["1"]]'),
        ("included", "[1]"),
    ],
)
def test_a_row_that_somebody_broke_costs_only_that_flag(
    column, value, flag_db, clock: Clock, caplog
):
    feature_flags.set_rollout(NAME, 100)
    feature_flags.set_rollout("broken", 100)
    with connections[flag_db].cursor() as cursor:
        cursor.execute(
            f"UPDATE strangler_flag SET {column} = %s WHERE name = 'broken'", [value]
        )
        cursor.execute("UPDATE strangler_flagversion SET stamp = 'another'")
    clock.pass_refresh()

    assert is_on()
    assert feature_flags.is_enabled("broken", 1, default=True)
    assert "The flag 'broken' cannot be used." in caplog.messages


def test_the_connection_is_left_as_it_was_found(flag_db, clock: Clock):
    feature_flags.set_rollout(NAME, 100)
    connections[flag_db].close()

    # Before a server forks: its children must not share this connection.
    assert is_on()
    assert connections[flag_db].connection is None

    Flag.objects.count()
    clock.pass_refresh()
    assert is_on()
    assert connections[flag_db].connection is not None


def test_in_manual_transactions_it_works_as_well(postgresql_db, route, clock: Clock):
    route(postgresql_db)
    feature_flags.set_rollout(NAME, 0)
    transaction.set_autocommit(False, using=postgresql_db)
    try:
        feature_flags.set_rollout(NAME, 100)
        assert is_on()
        transaction.rollback(using=postgresql_db)
        assert not is_on()
        feature_flags.set_rollout(NAME, 100)
        transaction.commit(using=postgresql_db)
        assert is_on()
        changed_elsewhere(postgresql_db, percentage=0)
        clock.pass_refresh()
        transaction.commit(using=postgresql_db)
        assert not is_on()
        transaction.rollback(using=postgresql_db)
    finally:
        transaction.set_autocommit(True, using=postgresql_db)


def test_the_first_change_of_all_is_made_by_one_of_two(flag_db):
    FlagVersion.objects.all().delete()

    with mock.patch.object(
        type(FlagVersion.objects.all()), "update", side_effect=[0, 1]
    ) as update:
        FlagVersion(pk=1, stamp="theirs").save()
        FlagVersion.objects.renew()

    # Nothing to renew, then theirs came first, and theirs was renewed.
    assert update.call_count == 2
    assert FlagVersion.objects.count() == 1


async def call_in_event_loop() -> bool:
    return is_on()


@pytest.mark.parametrize("refresh", [0, 60])
def test_in_an_event_loop_asking_is_refused_every_time(flag_db, settings, refresh):
    import asyncio

    settings.STRANGLER = {"FLAG_REFRESH": refresh}
    feature_flags.set_rollout(NAME, 100)
    assert is_on()  # With a long FLAG_REFRESH, nothing would have to be queried now.

    with pytest.raises(InsideEventLoop, match=r"await feature_flags\.ais_enabled"):
        asyncio.run(call_in_event_loop())
    # And nothing is left locked.
    assert is_on()


def test_a_program_error_is_not_taken_for_a_database_that_is_down(flag_db):
    class Unexpected(Exception):
        pass

    assert not issubclass(Unexpected, DatabaseError)
    with (
        mock.patch.object(connections[flag_db], "cursor", side_effect=Unexpected),
        pytest.raises(Unexpected),
    ):
        is_on()
