"""A database that is slow, silent or gone."""

from __future__ import annotations

import itertools
import logging

import pytest
from django.db import OperationalError, connections

from django_strangler.brokers import memory
from django_strangler.databases import own_connection
from tests.relay.factories import (
    events,
    make_relay,
    pending,
    publish,
    rows_sent,
    running,
)
from tests.services.fixtures import MakeDb, MakeProxy
from tests.waiting import wait_for


def test_a_postgresql_that_never_answers_is_noticed(
    private_postgresql,
    make_db: MakeDb,
    far: memory.MemoryExchange,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its host's kernel still acknowledges everything: no timeout of TCP helps."""
    alias = make_db(private_postgresql)
    with caplog.at_level(logging.WARNING), running(alias, far, read_timeout=1.5):
        private_postgresql.pause()
        try:
            wait_for(lambda: "the relay waits for it" in caplog.text)
        finally:
            # Or taking the database down would wait for ever.
            private_postgresql.resume()
        (row,) = publish(alias, "a")
        wait_for(lambda: rows_sent(far) == [row])
        wait_for(lambda: not pending(alias))

    assert caplog.text.count("the relay waits for it") == 1


def test_a_statement_that_is_given_up_ends_on_the_server_as_well(
    postgresql_db: str,
) -> None:
    """Or each attempt would leave one more that keeps a processor busy."""
    connection, other = connections[postgresql_db], connections[postgresql_db].copy()
    with own_connection(connection, read_timeout=0.5):
        with pytest.raises(OperationalError), connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(600)")
        connection.close()

    def ended() -> bool:
        with other.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM pg_stat_activity WHERE state = 'active' "
                "AND query = 'SELECT pg_sleep(600)'"
            )
            return not cursor.fetchall()

    wait_for(ended)
    other.close()


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_an_end_of_a_transaction_that_is_never_answered_is_noticed(
    end: str, private_postgresql, make_db: MakeDb
) -> None:
    connection = connections[make_db(private_postgresql)]
    with own_connection(connection, read_timeout=1.5):
        connection.set_autocommit(False)
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        private_postgresql.pause()
        try:
            with pytest.raises(OperationalError):
                getattr(connection, end)()
        finally:
            private_postgresql.resume()
        connection.close()


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
    with running(alias, far, read_timeout=1.5, lease=1.0) as relay:
        wait_for(lambda: far.sent)
        proxy.black_hole()
        far.release_outcomes(list)
        wait_for(lambda: relay._database_error is not None)
        proxy.heal()
        wait_for(lambda: not pending(alias))

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


@pytest.mark.parametrize(
    ("vendor", "question"),
    [
        ("postgresql", "SHOW transaction_isolation"),
        ("mariadb", "SHOW VARIABLES WHERE variable_name LIKE 't%%_isolation'"),
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
