"""NOTIFY: waking up, the self-test, the fallback, the switch."""

from __future__ import annotations

import logging
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest
from django.db import connections, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_strangler.brokers import memory
from django_strangler.outbox import wakeup
from django_strangler.outbox.publishing import publish_event
from django_strangler.outbox.relay import Relay
from tests.relay.factories import make_relay, pending, publish
from tests.services import processes, sources
from tests.services.base import Unavailable
from tests.services.fixtures import MakeDb, needed
from tests.services.instances import program
from tests.services.ports import LOOPBACK, free_port
from tests.waiting import wait_for

NEVER = 20.0  # A poll that no test waits for.


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
        wait_for(lambda: relays and relays[0].wakeup._tried is not None)
        yield relays[0]
    finally:
        stop.set()
        thread.join()


def test_a_commit_wakes_a_relay(postgresql_db: str, far: memory.MemoryExchange) -> None:
    with running(postgresql_db, far, poll_interval=NEVER) as relay:
        wait_for(lambda: relay.wakeup.is_listening)

        publish(postgresql_db, "a")

        wait_for(lambda: not pending(postgresql_db), 3)


def test_what_is_notified_while_a_relay_works_is_heard(
    postgresql_db: str, far: memory.MemoryExchange
) -> None:
    relay = make_relay(postgresql_db, far)
    relay.step()
    assert relay.wakeup.wait(0) is False
    assert relay.wakeup.is_listening

    publish(postgresql_db, "a")
    with connections[postgresql_db].cursor() as cursor:
        cursor.execute(f"NOTIFY {wakeup.CHANNEL}")

    assert relay.wakeup.wait(5) is True
    relay._leave()


def test_the_switch_turns_it_off(
    postgresql_db: str, far: memory.MemoryExchange
) -> None:
    with running(postgresql_db, far, notify=False, poll_interval=0.05) as relay:
        assert not relay.wakeup.is_listening

        publish(postgresql_db, "a")

        wait_for(lambda: not pending(postgresql_db), 3)


def test_others_are_polled(any_db: str, far: memory.MemoryExchange) -> None:
    with running(any_db, far, poll_interval=0.1, notify=False):
        publish(any_db, "a")

        wait_for(lambda: not pending(any_db), 5)


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
        wakeup._last_sent.clear()


def test_publishers_obey_the_switch(
    postgresql_db: str, far: memory.MemoryExchange
) -> None:
    with running(postgresql_db, far, poll_interval=NEVER) as relay:
        wait_for(lambda: relay.wakeup.is_listening)
        # Nothing more to be heard of what came before.
        wait_for(lambda: relay._awake_until < relay._monotonic())
        with override_settings(STRANGLER={"NOTIFY": False}):
            publish(postgresql_db, "a")
        polled = relay._read_at

        assert pending(postgresql_db) == 1
        assert relay._read_at == polled
        with connections[postgresql_db].cursor() as cursor:
            cursor.execute(f"NOTIFY {wakeup.CHANNEL}")
        wait_for(lambda: not pending(postgresql_db), 3)


@pytest.fixture
def pgbouncer(
    postgresql, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[int]:
    """The port of a real PgBouncer with transaction pooling, one server connection."""

    def announce(text: str) -> None:
        print(f"\n*** {text}")

    with needed("PgBouncer", request):
        try:
            path = program("pgbouncer")
        except Unavailable:
            kind = SimpleNamespace(name="PgBouncer", package="pgbouncer")
            sources.install(kind, announce)  # type: ignore[arg-type]
            path = program("pgbouncer")
    parts = urlsplit(postgresql.url)
    port = free_port()
    config = tmp_path / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n* = host={parts.hostname} port={parts.port} "
        f"user={parts.username} password={unquote(parts.password or '')}\n"
        f"[pgbouncer]\nlisten_addr = {LOOPBACK}\nlisten_port = {port}\n"
        "unix_socket_dir =\nauth_type = any\npool_mode = transaction\n"
        "default_pool_size = 2\n"
    )
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    config.chmod(0o644)
    process = subprocess.Popen(
        [path, str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **processes.identity(processes.account("postgres", "nobody")),
    )
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def test_behind_a_transaction_pooling_proxy_the_poll_remains(
    pgbouncer: int,
    make_db: MakeDb,
    far: memory.MemoryExchange,
    caplog: pytest.LogCaptureFixture,
) -> None:
    alias = make_db("postgresql", port=pgbouncer)

    def can_ask() -> bool:
        return publish(alias, "a") != []

    wait_for(can_ask, ignoring=(Exception,))
    with (
        caplog.at_level(logging.WARNING),
        running(alias, far, poll_interval=0.1) as relay,
    ):
        wait_for(lambda: "hears nothing" in caplog.text)
        assert not relay.wakeup.is_listening
        publish(alias, "b")
        wait_for(lambda: not pending(alias))

    assert caplog.text.count("hears nothing") == 1
