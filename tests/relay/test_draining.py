"""``drain()``: when it ends, when it gives up, and how many statements it takes."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext

from django_strangler.brokers import Kind, memory
from django_strangler.exceptions import BrokerUnreachable, InsideTransaction
from django_strangler.outbox import draining
from django_strangler.outbox.relay import Relay
from tests.relay.factories import make_relay, pending, publish, rows_sent
from tests.waiting import wait_for


def test_ends_when_nothing_is_due(any_db: str, far: memory.MemoryExchange) -> None:
    publish(any_db, *[f"k{n % 50}" for n in range(700)], *[""] * 300)

    totals = make_relay(any_db, far, batch_size=50, window=70).drain()

    assert totals.confirmed == 1000
    assert pending(any_db) == 0


def test_one_key_with_more_than_fits_into_memory(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    rows = publish(sqlite_db, *["hot"] * 300)
    relay = make_relay(sqlite_db, far, batch_size=5)

    relay.drain()

    assert rows_sent(far) == rows


def test_ends_at_once_when_others_hold_all_lanes(
    any_db: str, far: memory.MemoryExchange
) -> None:
    publish(any_db, "a")
    holder = make_relay(any_db, far)
    holder.leases.keep()

    relay = make_relay(any_db, far, steady=False)
    totals = relay.drain()

    assert totals.confirmed == 0
    assert relay.leases.held_by_others == 32


def test_ends_although_others_go_on_publishing(
    postgresql_db: str, far: memory.MemoryExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "LAST_LOOKS", 0.5)
    stop = threading.Event()

    def go_on() -> None:
        while not stop.is_set():
            publish(postgresql_db, "a", "b")
        connections[postgresql_db].close()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        make_relay(postgresql_db, far).drain()
        others_go_on = thread.is_alive()
    finally:
        stop.set()
        thread.join()

    assert others_go_on


def test_what_is_published_by_who_handled_an_event_goes_as_well(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    publish(sqlite_db, "a")
    relay = make_relay(sqlite_db, far)
    more = iter([["b", "c"], ["d"]])
    send = relay.broker.send

    def send_and_publish(events, **options) -> None:
        send(events, **options)
        publish(sqlite_db, *next(more, []))

    relay.broker.send = send_and_publish

    relay.drain()

    assert [event.key for event in far.sent] == ["a", "b", "c", "d"]


def test_gives_up_on_a_broker_that_is_not_there(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    publish(sqlite_db, "a")
    far.mend(trouble="connection refused")

    with pytest.raises(BrokerUnreachable, match="connection refused"):
        make_relay(sqlite_db, far).drain(patience=0.3)

    assert pending(sqlite_db) == 1


def test_gives_up_on_a_broker_that_takes_nothing(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    """Ready, but full: its refusals are no progress."""
    publish(sqlite_db, "a", "b")
    far.fail(Kind.UNKNOWN, "the queue is full", times=None)

    with pytest.raises(BrokerUnreachable):
        make_relay(sqlite_db, far).drain(patience=0.5)


def test_gives_up_on_a_broker_that_says_nothing(
    sqlite_db: str, far: memory.MemoryExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "SILENCE", 0.3)
    publish(sqlite_db, "a")
    far.fail(None, times=None)
    started = time.monotonic()

    with pytest.raises(BrokerUnreachable):
        make_relay(sqlite_db, far).drain(patience=0.1)

    assert time.monotonic() - started < 20


def test_does_not_wait_for_the_next_attempt(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    """Also where the event was held back for the broker's sake before."""
    publish(sqlite_db, "a")
    far.fail(Kind.UNKNOWN, times=2)
    far.fail(Kind.REJECTED, times=1)
    started = time.monotonic()

    totals = make_relay(sqlite_db, far, max_backoff=60.0).drain()

    assert (totals.retried, totals.unknown) == (1, 2)
    assert time.monotonic() - started < 20


def test_a_transaction_of_the_application_is_refused(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    with (
        transaction.atomic(using=sqlite_db),
        pytest.raises(InsideTransaction),
    ):
        make_relay(sqlite_db, far).drain()


def test_a_thousand_events_take_ten_statements_at_most(
    any_db: str, far: memory.MemoryExchange
) -> None:
    for _ in range(8):
        publish(any_db, *[f"k{n}" for n in range(500)])
    relay = make_relay(any_db, far)

    with CaptureQueriesContext(connections[any_db]) as queries:
        assert relay.drain().confirmed == 4000

    assert len(queries) <= 4 * 10


def test_an_idle_relay_asks_three_times_a_second_at_most(
    postgresql_db: str, far: memory.MemoryExchange
) -> None:
    stop = threading.Event()
    count = itertools.count()
    asked: list[str] = []

    def run() -> None:
        def listen(execute, sql, *rest):
            next(count)
            asked.append(sql)
            return execute(sql, *rest)

        with connections[postgresql_db].execute_wrapper(listen):
            relays.append(make_relay(postgresql_db, far, stop=stop))
            relays[0].run()

    relays: list[Relay] = []
    thread = threading.Thread(target=run)
    thread.start()
    wait_for(lambda: relays and relays[0].listener.is_listening)
    asked.clear()
    started = time.monotonic()
    stop.wait(6)  # What is to be shown is that little happens.
    rate = len(asked) / (time.monotonic() - started)
    stop.set()
    thread.join()

    assert 0 < rate <= 3


def test_an_idle_relay_without_lanes_does_not_spin(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    holder = make_relay(sqlite_db, far)
    holder.leases.keep()
    relay = make_relay(sqlite_db, far, steady=False)
    relay.broker.open()
    waited: list[float] = []
    relay.listener.wait = lambda pause, _lanes: waited.append(pause)
    relay._turn()

    relay._turn()

    assert waited[-1] > 0.5
