"""The servers of the tests: what a private one promises, and what is left of it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pika
import psycopg
import pytest

from tests.services import leftovers, mariadb, processes
from tests.services.instances import Instance
from tests.services.mariadb import MARIADB
from tests.services.postgresql import POSTGRESQL
from tests.services.rabbitmq import PrivateRabbitMQ
from tests.services.services import Services
from tests.waiting import TimedOut, wait_for


class ServerContract:
    """What each private server promises."""

    def keep(self, server: Instance) -> None:
        """Write something and wait until the server has acknowledged it."""
        raise NotImplementedError

    def kept(self, server: Instance) -> bool:
        raise NotImplementedError

    def test_what_was_acknowledged_survives_a_kill(self, server: Instance) -> None:
        assert server.process is not None
        of_server = processes.tree(server.process.pid)
        self.keep(server)

        server.kill()

        assert not server.running
        assert not server.answers()
        wait_for(lambda: not any(map(processes.started, of_server)))
        server.start()
        assert self.kept(server)

    def test_a_stopped_server_comes_back_where_it_was(self, server: Instance) -> None:
        before = server.url
        self.keep(server)

        server.stop()

        assert not server.answers()
        server.start()
        assert server.url == before
        assert self.kept(server)

    def test_a_paused_server_is_silent_until_it_is_resumed(
        self, server: Instance
    ) -> None:
        with socket.create_connection((server.host, server.port)) as client:
            server.pause()
            assert server.running
            assert not server.answers()

            server.resume()

            wait_for(server.answers)
            client.send(b"?")  # The connection is still there.

    def test_a_server_is_started_harmlessly_when_it_runs_or_is_paused(
        self, server: Instance
    ) -> None:
        running = server.process
        server.start()
        server.pause()
        server.start()

        assert server.process is running
        wait_for(server.answers)


class TestPostgreSQL(ServerContract):
    @pytest.fixture
    def server(self, private_postgresql: Instance) -> Instance:
        return private_postgresql

    def keep(self, server: Instance) -> None:
        with psycopg.connect(server.url) as connection:
            connection.execute("DROP TABLE IF EXISTS kept")
            connection.execute("CREATE TABLE kept (id int)")
            connection.execute("INSERT INTO kept VALUES (1)")

    def kept(self, server: Instance) -> bool:
        with psycopg.connect(server.url) as connection:
            return connection.execute("SELECT id FROM kept").fetchall() == [(1,)]


class TestMariaDB(ServerContract):
    @pytest.fixture
    def server(self, private_mariadb: Instance) -> Instance:
        return private_mariadb

    def keep(self, server: Instance) -> None:
        with mariadb.connect(server.url) as connection:
            cursor = connection.cursor()
            cursor.execute("CREATE DATABASE IF NOT EXISTS kept")
            cursor.execute("CREATE OR REPLACE TABLE kept.kept (id int) ENGINE=InnoDB")
            cursor.execute("INSERT INTO kept.kept VALUES (1)")

    def kept(self, server: Instance) -> bool:
        with mariadb.connect(server.url) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT id FROM kept.kept")
            return cursor.fetchall() == ((1,),)

    def test_a_server_takes_arguments(self, start_private) -> None:
        elsewhere = start_private("mariadb", "--default-time-zone=+07:00")

        with mariadb.connect(elsewhere.url) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT TIMEDIFF(NOW(), UTC_TIMESTAMP())")
            assert str(cursor.fetchone()[0]) == "7:00:00"

    def test_a_server_that_starts_leaves_its_neighbours_temporary_tables(
        self, server: Instance, start_private
    ) -> None:
        with mariadb.connect(server.url, database="mysql") as connection:
            cursor = connection.cursor()
            cursor.execute("CREATE TEMPORARY TABLE brief (id int) ENGINE=Aria")

            start_private("mariadb")

            cursor.execute("DROP TEMPORARY TABLE brief")


class TestRabbitMQ(ServerContract):
    @pytest.fixture
    def server(self, private_rabbitmq: Instance) -> Instance:
        return private_rabbitmq

    @pytest.fixture
    def channel(self, server: Instance) -> Iterator[pika.channel.Channel]:
        with closing(pika.BlockingConnection(pika.URLParameters(server.url))) as it:
            yield it.channel()

    def keep(self, server: Instance) -> None:
        assert isinstance(server, PrivateRabbitMQ)
        with closing(pika.BlockingConnection(pika.URLParameters(server.url))) as it:
            channel = it.channel()
            channel.confirm_delivery()
            channel.queue_delete("kept")
            channel.queue_declare(
                "kept", durable=True, arguments={"x-queue-type": "quorum"}
            )
            server.settle()
            channel.basic_publish(
                "", "kept", b"1", pika.BasicProperties(delivery_mode=2)
            )

    def kept(self, server: Instance) -> bool:
        with closing(pika.BlockingConnection(pika.URLParameters(server.url))) as it:
            channel = it.channel()
            return wait_for(lambda: channel.basic_get("kept", auto_ack=True)[2]) == b"1"

    def test_streams_work(self, channel) -> None:
        channel.confirm_delivery()
        channel.queue_declare("log", durable=True, arguments={"x-queue-type": "stream"})

        channel.basic_publish("", "log", b"1")

        channel.queue_delete("log")

    def test_memory_can_be_made_short_with_rabbitmqctl(
        self, server: PrivateRabbitMQ
    ) -> None:
        blocked: list[str] = []
        with closing(pika.BlockingConnection(pika.URLParameters(server.url))) as it:
            it.add_on_connection_blocked_callback(lambda *_: blocked.append("blocked"))
            it.add_on_connection_unblocked_callback(lambda *_: blocked.clear())
            try:
                server.ctl("set_vm_memory_high_watermark", "0.000001")
                it.channel().basic_publish("", "nowhere", b"")
                wait_for(lambda: it.process_data_events() or blocked)
            finally:
                server.ctl("set_vm_memory_high_watermark", "0.4")
            wait_for(lambda: it.process_data_events() or not blocked)


def test_a_test_finds_the_server_up_that_another_one_left_dead(
    services, private_postgresql
) -> None:
    private_postgresql.kill()

    again = services.get_dedicated(POSTGRESQL)

    assert again is private_postgresql
    wait_for(again.answers)


def test_the_server_of_all_tests_goes_on_if_it_dies_and_its_log_is_shown(
    private_mariadb, monkeypatch
) -> None:
    """`private_mariadb` for its skip: where there is none, none can be started."""
    monkeypatch.delenv(MARIADB.variable, raising=False)
    said: list[str] = []
    with closing(Services(said.append)) as services:
        server = services.get(MARIADB)
        assert isinstance(server, Instance)
        assert services.get(MARIADB) is server
        assert said == []
        server.kill()

        again = services.get(MARIADB)

        assert again is server
        assert server.answers()
        assert "has died" in said[0]
        assert "ready for connections" in said[1]


def test_waiting_ends_at_the_deadline_with_the_last_error() -> None:
    def refuse() -> bool:
        raise OSError("nobody there")

    with pytest.raises(TimedOut, match=r"refuse: not within 0.05 s.*nobody there"):
        wait_for(refuse, 0.05, ignoring=(OSError,))


OWNER = """
import sys
from tests.services.services import KINDS, Services

services = Services()
server = services.get_dedicated(KINDS["postgresql"])
if "pause" in sys.argv:
    server.pause()
print(services.run.folder, server.process.pid, services.run._watchdog.pid, flush=True)
sys.stdin.read()
"""


class Crash:
    """Another run of the tests that has started a server."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, *arguments],
            cwd=leftovers.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().split()
        self.folder, self.server, self.watchdog = Path(line[0]), *map(int, line[1:])
        self.processes = processes.tree(self.server)

    def happen(self) -> None:
        self.process.kill()
        self.process.communicate()

    def is_cleared_away(self) -> bool:
        return not self.folder.exists() and not any(
            map(processes.started, self.processes)
        )


@pytest.mark.parametrize("state", ["run", "pause"])
def test_a_run_that_is_killed_takes_its_servers_and_folders_with_it(
    private_postgresql, state
) -> None:
    crash = Crash(state)

    crash.happen()

    wait_for(crash.is_cleared_away)
