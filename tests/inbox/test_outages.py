"""
The inbox's database is lost: no fault of the event's, nor of the subscriber's.

Its connection is ended at each step, on real servers: the effect happens once, and
nobody is blamed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from django.db import DatabaseError, Error, connections, transaction

from django_strangler import subscribe
from django_strangler.events import Event
from django_strangler.inbox.handling import DatabaseGone, handle
from tests.inbox.databases import effect, effects, end_connection, entries

EVENT = Event(type="payment.completed", payload={})


@pytest.fixture(params=["postgresql_db", "mariadb_db"])
def db(request: pytest.FixtureRequest, routed) -> str:
    return routed(request.getfixturevalue(request.param))


class OfItsOwn(Exception):
    """What a subscriber may make of a database error."""


def in_the_effect(db: str) -> None:
    end_connection(db)
    effect(db)


def as_an_error_of_its_own(db: str) -> None:
    end_connection(db)
    try:
        effect(db)
    except DatabaseError as error:
        raise OfItsOwn from error


def swallowed(db: str) -> None:
    end_connection(db)
    with suppress(Error):
        effect(db)


def swallowed_in_a_savepoint(db: str) -> None:
    end_connection(db)
    with suppress(Error), transaction.atomic(using=db):
        effect(db)


def with_another_statement_behind(db: str) -> None:
    end_connection(db)
    with suppress(Error):
        effect(db)
    effect(db)


def at_commit(db: str) -> None:
    effect(db)
    end_connection(db)


def the_answer_to_commit(db: str) -> None:
    effect(db)
    connection = connections[db]
    commit = connection._commit

    def commit_and_lose() -> None:
        del connection._commit
        commit()
        end_connection(db)
        with connection.wrap_database_errors:
            connection.connection.cursor().execute("SELECT 'what became of it?'")

    connection._commit = commit_and_lose


@pytest.mark.parametrize(
    "lose",
    [
        in_the_effect,
        as_an_error_of_its_own,
        swallowed,
        swallowed_in_a_savepoint,
        with_another_statement_behind,
        at_commit,
        the_answer_to_commit,
    ],
)
def test_a_connection_lost_while_it_is_handled(
    db: str, registry, lose: Callable[[str], None]
) -> None:
    ways = [lose, effect]
    subscribe("#", name="any")(lambda event: ways.pop(0)(db))
    (subscriber,) = registry.all()

    with pytest.raises(DatabaseGone):
        handle(subscriber, EVENT)
    connections[db].close()  # As whoever calls it does.
    handle(subscriber, EVENT)

    assert effects(db) == 1
    assert entries(db) == {("any", EVENT.id)}


def test_a_connection_lost_before_the_transaction(db: str, registry) -> None:
    subscribe("#", name="any")(lambda event: effect(db))
    (subscriber,) = registry.all()
    end_connection(db)

    with pytest.raises(DatabaseGone):
        handle(subscriber, EVENT)
    connections[db].close()
    handle(subscriber, EVENT)

    assert effects(db) == 1


def test_a_connection_lost_after_the_commit(db: str, registry) -> None:
    subscribe("#", name="any")(lambda event: effect(db))
    (subscriber,) = registry.all()
    connection = connections[db]
    commit = connection._commit

    def commit_and_lose() -> None:
        del connection._commit
        commit()
        end_connection(db)

    connection._commit = commit_and_lose

    # MariaDB is told that the transaction is over, and PostgreSQL is not.
    with suppress(DatabaseGone):
        handle(subscriber, EVENT)
    with suppress(DatabaseGone):
        handle(subscriber, EVENT)
    connection.close()
    handle(subscriber, EVENT)

    assert effects(db) == 1


def test_a_server_that_has_become_read_only(db: str, registry) -> None:
    subscribe("#", name="any")(lambda event: effect(db))
    (subscriber,) = registry.all()
    session = {"postgresql": "SESSION CHARACTERISTICS AS", "mysql": "SESSION"}
    with connections[db].cursor() as cursor:
        which = session[connections[db].vendor]
        cursor.execute(f"SET {which} TRANSACTION READ ONLY")

    with pytest.raises(DatabaseGone, match=r"(?i)read.only"):
        handle(subscriber, EVENT)
    connections[db].close()
    handle(subscriber, EVENT)

    assert effects(db) == 1


def test_what_the_subscriber_closed_itself_was_not_lost(any_db: str, routed, registry):
    routed(any_db)

    @subscribe("#", name="closes")
    def closes(event: Event) -> None:
        connections[any_db].close()
        effect(any_db)

    (subscriber,) = registry.all()

    with pytest.raises(Error) as caught:
        handle(subscriber, EVENT)

    assert not isinstance(caught.value, DatabaseGone)
    assert entries(any_db) == set()


def test_an_error_on_a_connection_that_lives_is_the_subscribers(db: str, registry):
    @subscribe("#", name="broken")
    def broken(event: Event) -> None:
        with connections[db].cursor() as cursor:
            cursor.execute("SELECT no_such_column")

    (subscriber,) = registry.all()

    with pytest.raises(DatabaseError):
        handle(subscriber, EVENT)

    assert entries(db) == set()


def test_a_type_that_the_database_cannot_hold_is_the_events_fault(
    postgresql_db: str, routed, registry
) -> None:
    routed(postgresql_db)
    subscribe("#", name="any")(lambda event: None)
    (subscriber,) = registry.all()

    with pytest.raises((DatabaseError, ValueError)):
        handle(subscriber, Event(type="with\0nothing", payload={}))


def test_with_autocommit_switched_off_the_effect_is_committed(any_db, routed, registry):
    routed(any_db)
    subscribe("#", name="any")(lambda event: effect(any_db))
    (subscriber,) = registry.all()
    connections[any_db].set_autocommit(False)

    handle(subscriber, EVENT)
    connections[any_db].close()

    assert effects(any_db) == 1
    assert entries(any_db) == {("any", EVENT.id)}
