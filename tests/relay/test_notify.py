"""NOTIFY: waking up, the fallback, the switch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from django.db import connections, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_strangler.brokers import memory
from django_strangler.models import OutboxEvent
from django_strangler.outbox import notify
from django_strangler.outbox.lanes import LANES
from django_strangler.outbox.publishing import publish_event
from django_strangler.outbox.relay import Relay
from tests.relay.factories import make_relay, pending, publish, rows_sent
from tests.services.base import Service
from tests.services.fixtures import MakeDb, needed
from tests.services.instances import Instance
from tests.waiting import wait_for

NEVER = 90.0  # A poll that no test waits for.


@contextmanager
def running(alias: str, far: memory.MemoryExchange, **options) -> Iterator[Relay]:
    """A relay in a thread, with a connection of its own."""
    stop = threading.Event()
    relays: list[Relay] = []

    def run() -> None:
        relays.append(make_relay(alias, far, stop=stop, **options))
        relays[0].run()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_for(lambda: relays and relays[0].listener._seen is not None)
        yield relays[0]
    finally:
        stop.set()
        thread.join()


def test_a_commit_wakes_a_relay(postgresql_db: str, far: memory.MemoryExchange) -> None:
    with running(postgresql_db, far, poll_interval=NEVER) as relay:
        wait_for(lambda: relay.listener.is_listening)

        published = time.monotonic()
        (row,) = publish(postgresql_db, "a")
        wait_for(lambda: not pending(postgresql_db))

        assert rows_sent(far) == [row]
        assert time.monotonic() - published < NEVER / 2  # So it was no poll.


def test_what_is_notified_while_a_relay_works_is_heard(
    postgresql_db: str, far: memory.MemoryExchange
) -> None:
    relay = make_relay(postgresql_db, far)
    relay.step()
    assert relay.listener.wait(0, [0]) is False
    assert relay.listener.is_listening

    publish(postgresql_db, "a")
    with connections[postgresql_db].cursor() as cursor:
        cursor.execute(f"NOTIFY {notify.CHANNEL}")

    assert relay.listener.wait(60, [0]) is True
    relay._leave()


def test_a_relay_that_waits_for_a_confirm_still_hears(
    postgresql_db: str, far: memory.MemoryExchange
) -> None:
    with running(postgresql_db, far, poll_interval=NEVER) as relay:
        wait_for(lambda: relay.listener.is_listening)
        far.hold_outcomes()
        (slow,) = publish(postgresql_db, "a", type="payment.refused")
        wait_for(lambda: rows_sent(far) == [slow])
        wait_for(lambda: relay._reading.pause > NEVER / 2)

        (other,) = publish(postgresql_db, "b")
        wait_for(lambda: rows_sent(far) == [slow, other], NEVER / 3)

        far.release_outcomes()
        wait_for(lambda: not pending(postgresql_db))


def lane(alias: str, row: int) -> int:
    return OutboxEvent.objects.using(alias).get(pk=row).lane


def test_only_the_relay_of_the_lane_is_woken(
    postgresql_db: str, far: memory.MemoryExchange
) -> None:
    relay = make_relay(postgresql_db, far)
    relay.step()
    notify._told.clear()
    assert relay.listener.wait(0, [0]) is False

    (row,) = publish(postgresql_db, "a")
    others = set(range(LANES)) - {lane(postgresql_db, row)}

    # What is told at once comes in order: the second is for all, and heard.
    assert relay.listener.wait(0, others) is False
    notify._told.clear()
    publish(postgresql_db, "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l")
    assert relay.listener.wait(60, others) is True
    relay._leave()


def test_a_busy_process_tells_some_then_all_then_nobody_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, told = [100.0], []
    raw = SimpleNamespace(execute=told.append)
    monkeypatch.setattr(notify, "connections", {"far": SimpleNamespace(connection=raw)})
    monkeypatch.setattr(notify, "time", SimpleNamespace(monotonic=lambda: now[0]))

    for lanes in ({1}, {1}, {2, 1}, {3}, {1}):
        notify._notify("far", lanes)
    now[0] += 2 * notify.QUIET
    notify._notify("far", {3})

    name = f"NOTIFY {notify.CHANNEL}"
    assert told == [f"{name}, '1'", f"{name}, ''", f"{name}, '3'"]


def test_a_notification_that_names_no_lanes_is_for_all() -> None:
    assert notify.concerns("", ())
    assert notify.concerns("3f2a", [1])
    assert notify.concerns("3,14", [14])
    assert not notify.concerns("3,14", [1, 4])


def test_the_switch_turns_it_off(
    postgresql_db: str, far: memory.MemoryExchange
) -> None:
    with running(postgresql_db, far, notify=False, poll_interval=0.05) as relay:
        assert not relay.listener.is_listening

        (row,) = publish(postgresql_db, "a")
        wait_for(lambda: not pending(postgresql_db))

    assert rows_sent(far) == [row]


def test_what_came_into_a_lane_that_is_kept_after_all_is_looked_for(
    sqlite_db: str, far: memory.MemoryExchange
) -> None:
    now = [1000.0]
    relay = make_relay(
        sqlite_db, far, poll_interval=NEVER, monotonic=lambda: now[0], lease=NEVER
    )
    far.hold_outcomes()
    relay.broker.open()
    (first,) = publish(sqlite_db, "a")
    relay.step()
    (other,) = publish(sqlite_db, "b")
    # Another relay joins, and does not stay.
    relay.leases.leaving = frozenset(lane(sqlite_db, row) for row in (first, other))
    now[0] += 1.5
    relay.step()
    now[0] += 0.1
    relay.step()
    assert rows_sent(far) == [first]

    relay.leases.look_again()
    now[0] += 0.1
    relay.step()

    assert rows_sent(far) == [first, other]
    far.release_outcomes()
    relay._leave()


def test_others_are_polled(any_db: str, far: memory.MemoryExchange) -> None:
    with running(any_db, far, poll_interval=0.1, notify=False) as relay:
        (row,) = publish(any_db, "a")
        wait_for(lambda: not pending(any_db))

        assert not relay.listener.is_listening
    assert rows_sent(far) == [row]


def test_publishing_costs_one_statement_of_the_application(
    postgresql_db: str,
) -> None:
    publish(postgresql_db, "a")
    for _ in range(3):
        with (
            CaptureQueriesContext(connections[postgresql_db]) as queries,
            transaction.atomic(using=postgresql_db),
        ):
            publish_event("payment.completed", {}, using=postgresql_db)
        statements = [query["sql"] for query in queries]
        assert sum("INSERT" in sql for sql in statements) == 1
        assert not any("NOTIFY" in sql for sql in statements)
        notify._told.clear()


def test_publishers_obey_the_switch(
    postgresql_db: str, far: memory.MemoryExchange
) -> None:
    with running(postgresql_db, far, poll_interval=NEVER) as relay:
        wait_for(lambda: relay.listener.is_listening)
        # Nothing more to be heard of what came before.
        wait_for(lambda: relay._reading.pause > NEVER / 2)
        with override_settings(STRANGLER={"RELAY": {"NOTIFY": False}}):
            publish(postgresql_db, "a")
        polled = relay._reading._due._looked_at

        assert pending(postgresql_db) == 1
        assert relay._reading._due._looked_at == polled
        with connections[postgresql_db].cursor() as cursor:
            cursor.execute(f"NOTIFY {notify.CHANNEL}")
        wait_for(lambda: not pending(postgresql_db))


@pytest.fixture
def pgbouncer(
    postgresql: Service, request: pytest.FixtureRequest
) -> Iterator[Instance]:
    """A real PgBouncer with transaction pooling."""
    with needed("PgBouncer", request) as services:
        bouncer = services.start_pgbouncer(postgresql)
    yield bouncer
    bouncer.close()


def test_behind_a_transaction_pooling_proxy_the_poll_remains(
    pgbouncer: Instance,
    make_db: MakeDb,
    far: memory.MemoryExchange,
    caplog: pytest.LogCaptureFixture,
) -> None:
    alias = make_db("postgresql", port=pgbouncer.port)
    publish(alias, "a")
    with running(alias, far, poll_interval=0.1):
        wait_for(lambda: not pending(alias))
        publish(alias, "b")
        wait_for(lambda: not pending(alias))

    assert not [it for it in caplog.records if it.levelno >= logging.WARNING]
