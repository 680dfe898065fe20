"""The database is lost under a subscriber: nobody is to blame, nothing is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import DatabaseError

from django_strangler import subscribe
from django_strangler.events import Event
from tests.brokers.rabbit import with_options
from tests.inbox.databases import end_connection
from tests.waiting import wait_for

from .conftest import effect, effects, entries

EVENTS = 12


def in_the_effect(db: str) -> None:
    end_connection(db)
    effect(db)


def as_an_error_of_its_own(db: str) -> None:
    end_connection(db)
    try:
        effect(db)
    except DatabaseError as error:
        raise ValueError("no such account") from error


def at_commit(db: str) -> None:
    effect(db)
    end_connection(db)


@pytest.mark.parametrize("db", ["postgresql", "mariadb"])
@pytest.mark.parametrize("lose", [in_the_effect, as_an_error_of_its_own, at_commit])
def test_a_lost_connection_is_an_outage(
    make_db, routed, broker, registry, consume, db: str, lose: Callable[[str], None]
) -> None:
    alias = routed(make_db(db))
    lost: set[str] = set()

    @subscribe("payment.*", name="once")
    def once(event: Event) -> None:
        if str(event.id) in lost:
            effect(alias)
        else:
            lost.add(str(event.id))
            lose(alias)

    running = consume()
    ids = [broker.publish(key=f"k{n % 3}") for n in range(EVENTS)]
    wait_for(lambda: running.totals.handled == EVENTS)

    assert lost == set(ids)
    assert effects(alias) == EVENTS
    assert entries(alias) == {("once", id) for id in ids}
    assert (running.totals.retried, running.totals.dead) == (0, 0)


@pytest.mark.parametrize("db", ["postgresql", "mariadb"])
def test_a_connection_that_was_lost_between_two_deliveries_is_made_anew(
    make_db, routed, broker, registry, consume, db: str
) -> None:
    alias = routed(make_db(db))

    @subscribe("payment.*", name="once")
    def once(event: Event) -> None:
        effect(alias)

    running = consume(threads=1)
    broker.publish()
    wait_for(lambda: running.totals.handled == 1)
    (worker,) = running.consumer._crew._workers
    end_connection(alias, worker.connection)
    broker.publish()
    wait_for(lambda: running.totals.handled == 2)

    assert effects(alias) == 2
    assert (running.totals.retried, running.totals.dead) == (0, 0)


@contextmanager
def standing_still(broker, queue: str) -> Iterator[None]:
    """As it does without a majority: it takes messages, and confirms none."""
    look_up = (
        f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{broker.vhost}">>, '
        f'queue, <<"{queue}">>)), {{Name, _}} = amqqueue:get_pid(Q), sys:%s(Name)'
    )
    broker.server.evaluate(look_up % "suspend")
    try:
        yield
    finally:
        broker.server.evaluate(look_up % "resume")


def test_a_queue_that_confirms_no_copies_is_said_and_waited_for(
    db, broker, registry, consume
):
    calls: list[Event] = []

    @subscribe("payment.*", name="broken")
    def broken(event: Event) -> None:
        calls.append(event)
        raise ValueError("no")

    subscribe("user.*", name="fine")(lambda event: effect(db))
    running = consume(
        "payment.*",
        "user.*",
        url=with_options(broker.url, confirm_timeout=2),
        retry_delays=(0.05,),
        given={"in_place": ()},
    )
    source = running.consumer.source
    session = source._session

    with standing_still(broker, f"{broker.queue}.retry.50ms"):
        broker.publish()
        wait_for(lambda: not source.ready)
        assert f"{broker.queue}.retry.50ms do not confirm copies" in source.trouble
        broker.publish(type="user.signup")
        wait_for(lambda: effects(db) == 1)
        assert len(calls) == 1

    wait_for(lambda: source.ready)
    wait_for(lambda: broker.depth(".dead") == 1)
    # It was not connected anew, which would count as a failure of all that is in hand.
    assert source._session is session
    assert len(calls) == 2
