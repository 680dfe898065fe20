"""
The torture run.

    python -m tests.torture --seconds 60 --seed 1 --database postgresql

Publishers and relays are processes; a seeded nemesis kills and pauses them and their
servers. A fault that did not bite makes the run void. The history is written to a file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django

ROOT = Path(__file__).parents[2]
LEASE, WINDOWS, PUBLISHERS, RELAYS = 2, (200, 500, 1000), 3, 3
DRAINED_WITHIN = 60.0
EXCHANGE = "domain-events"


class Processes:
    """Publishers and relays, restarted when they are gone."""

    def __init__(self, database_url: str, broker_url: str, seed: int) -> None:
        self._environment = {
            **os.environ,
            "DATABASE_URL": database_url,
            "BROKER_URL": broker_url,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'testproject'}",
        }
        self._seed = seed
        self.publishers: list[subprocess.Popen[bytes]] = []
        self.relays: list[subprocess.Popen[bytes]] = []
        self._started = 0

    def fill(self, *, publishing: bool = True) -> None:
        """Replace whoever is gone."""
        self.publishers = [each for each in self.publishers if each.poll() is None]
        self.relays = [each for each in self.relays if each.poll() is None]
        while publishing and len(self.publishers) < PUBLISHERS:
            self._started += 1
            seed = str(self._seed * 1000 + self._started)
            self.publishers.append(self._start("-m", "tests.torture.publisher", seed))
        while len(self.relays) < RELAYS:
            self._started += 1
            window = str(WINDOWS[self._started % len(WINDOWS)])
            self.relays.append(
                self._start(
                    *("-m", "django", "drain_outbox", "--window", window),
                    *("--lease", str(LEASE)),
                )
            )

    def stop_publishers(self) -> None:
        for each in self.publishers:
            each.kill()
            each.wait()
        self.publishers = []

    def close(self) -> None:
        for each in self.publishers + self.relays:
            with contextlib.suppress(ProcessLookupError):
                each.send_signal(signal.SIGCONT)
            each.kill()
            each.wait()

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=self._environment,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


class Nemesis:
    """One fault after the other, by the seed; each says how it bit."""

    def __init__(self, processes: Processes, database: Any, rabbitmq: Any) -> None:
        self.processes = processes
        self.database = database
        self.rabbitmq = rabbitmq
        # How many relays each fault makes lose what they had sent and not marked.
        self.faults: dict[str, tuple[Callable[[random.Random], bool], int]] = {
            "kill a relay": (self.kill_relay, 1),
            "pause a relay beyond its lease": (self.pause_relay, 1),
            "kill a publisher": (self.kill_publisher, 0),
            "stop a relay politely": (self.stop_relay, 1),
            "close all connections": (self.close_connections, RELAYS),
            "terminate all backends": (self.terminate_backends, RELAYS),
            "kill the database": (self.kill_database, RELAYS),
            "kill RabbitMQ": (self.kill_rabbitmq, RELAYS),
            "pause RabbitMQ": (self.pause_rabbitmq, RELAYS),
            "memory alarm": (self.memory_alarm, RELAYS),
        }

    def kill_relay(self, chance: random.Random) -> bool:
        return _kill(chance.choice(self.processes.relays), signal.SIGKILL)

    def stop_relay(self, chance: random.Random) -> bool:
        return _kill(chance.choice(self.processes.relays), signal.SIGTERM)

    def kill_publisher(self, chance: random.Random) -> bool:
        return _kill(chance.choice(self.processes.publishers), signal.SIGKILL)

    def pause_relay(self, chance: random.Random) -> bool:
        relay = chance.choice(self.processes.relays)
        relay.send_signal(signal.SIGSTOP)
        time.sleep(LEASE + 2)
        is_alive = relay.poll() is None
        relay.send_signal(signal.SIGCONT)
        return is_alive

    def close_connections(self, chance: random.Random) -> bool:
        before = self.rabbitmq.ctl("list_connections", "pid").split()
        self.rabbitmq.ctl("close_all_connections", "torture")
        return len(before) > 1  # A heading is one of them.

    def terminate_backends(self, chance: random.Random) -> bool:
        return bool(self.database.terminate())

    def kill_database(self, chance: random.Random) -> bool:
        return _kill_server(self.database.server, pause=0.5)

    def kill_rabbitmq(self, chance: random.Random) -> bool:
        return _kill_server(self.rabbitmq, pause=0.5)

    def pause_rabbitmq(self, chance: random.Random) -> bool:
        self.rabbitmq.pause()
        time.sleep(3)
        self.rabbitmq.resume()
        return bool(self.rabbitmq.running)

    def memory_alarm(self, chance: random.Random) -> bool:
        self.rabbitmq.ctl("set_vm_memory_high_watermark", "0.0000001")
        try:
            alarmed = "memory" in self.rabbitmq.ctl("status")
            time.sleep(2)
        finally:
            self.rabbitmq.ctl("set_vm_memory_high_watermark", "0.6")
        return alarmed


def _kill(process: subprocess.Popen[bytes], how: signal.Signals) -> bool:
    if process.poll() is not None:
        return False
    process.send_signal(how)
    process.wait(10)
    return True


def _kill_server(server: Any, *, pause: float) -> bool:
    server.kill()
    is_gone = not server.running
    time.sleep(pause)
    server.start()
    return is_gone


class Database:
    """The database under torture, seen from the harness."""

    def __init__(self, alias: str, server: Any) -> None:
        self.alias, self.server = alias, server

    def terminate(self) -> int:
        rows = self.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            if self.server.url.startswith("postgres")
            else "SELECT id FROM information_schema.processlist "
            "WHERE db = DATABASE() AND id <> CONNECTION_ID()"
        )
        if not self.server.url.startswith("postgres"):
            for (session,) in rows:
                with contextlib.suppress(Exception):
                    self.query(f"KILL {int(session)}")
        return len(rows)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        from django.db import connections

        connection = connections[self.alias]
        connection.close()
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def committed(self) -> dict[str, int]:
        return dict(self.query("SELECT type, count FROM reporting_activity"))

    def pending(self) -> int:
        rows = self.query(
            "SELECT COUNT(*) FROM strangler_outboxevent WHERE confirmed_at IS NULL"
        )
        return int(rows[0][0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--database", choices=["postgresql", "mariadb"], default="postgresql"
    )
    parser.add_argument("--history", type=Path)
    parser.add_argument("--only", help="faults, by name, separated by commas")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    with _servers(options.database) as (alias, server, rabbitmq):
        return run(options, Database(alias, server), rabbitmq)


@contextlib.contextmanager
def _servers(kind: str) -> Iterator[tuple[str, Any, Any]]:
    from tests.services.databases import Databases
    from tests.services.rabbitmq import RABBITMQ
    from tests.services.services import KINDS, Services

    services = Services()
    databases = Databases(services)
    try:
        server = services.get_dedicated(KINDS[kind])
        rabbitmq = services.get_dedicated(RABBITMQ)
        with databases.fresh(server) as alias:
            yield alias, server, rabbitmq
    finally:
        databases.close()
        services.close()


def run(options: argparse.Namespace, database: Database, rabbitmq: Any) -> int:
    from reporting.models import Activity

    from tests.services.databases import database_url

    from . import witness
    from .checker import check
    from .publisher import DAY, KEYS

    witness.declare(rabbitmq.url, EXCHANGE)
    rabbitmq.settle()
    Activity.objects.using(database.alias).bulk_create(
        Activity(day=DAY, type=f"key-{number}", count=0) for number in range(KEYS)
    )
    broker_url = f"{rabbitmq.url}?confirm_timeout=5&heartbeat=5"
    processes = Processes(database_url(database.alias), broker_url, options.seed)
    nemesis, chance = (
        Nemesis(processes, database, rabbitmq),
        random.Random(options.seed),
    )
    kinds = options.only.split(",") if options.only else list(nemesis.faults)
    began = time.monotonic()
    timeline: list[tuple[float, str, bool]] = []
    windows = 0
    try:
        processes.fill()
        time.sleep(3)
        while time.monotonic() - began < options.seconds:
            name = chance.choice(kinds)
            fault, relays = nemesis.faults[name]
            has_bitten = fault(chance)
            windows += relays
            at = time.monotonic() - began
            timeline.append((at, name, has_bitten))
            print(f"{at:7.1f} s  {name}{'' if has_bitten else '  (VOID)'}", flush=True)
            processes.fill()
            time.sleep(chance.uniform(0.5, 2.0))
        processes.stop_publishers()
        drained = _wait_until_drained(database, processes)
        print(f"{'':9}drained {drained:.1f} s after the last fault", flush=True)
        pending = database.pending()
    finally:
        processes.close()
    witnessed = list(witness.read(rabbitmq.url))
    work = list(witness.read(rabbitmq.url, witness.WORK))
    committed = database.committed()
    # A window per lost relay, and as many again: a lease may end in the same fault.
    most = 2 * windows * max(WINDOWS)
    verdict = check(
        committed,
        witnessed,
        most_duplicates=most,
        pending=pending,
        elsewhere=set(work),
    )
    # The work queue is a queue like any other: the order holds there as well.
    verdict.out_of_order += check(committed, work, most_duplicates=most).out_of_order
    verdict.void = [name for _, name, has_bitten in timeline if not has_bitten]
    if options.history:
        with options.history.open("w") as file:
            for line in [
                {"seed": options.seed, "database": options.database, "most": most},
                {"timeline": timeline},
                {"committed": committed},
                *({"witnessed": pair} for pair in witnessed),
            ]:
                file.write(json.dumps(line) + "\n")
    print(f"{len(timeline)} faults of {len({n for _, n, _ in timeline})} kinds")
    print(verdict)
    if verdict.void:
        print(f"VOID: did not bite: {', '.join(verdict.void)}")
        return 2
    print("GOOD" if verdict.is_good else "BAD", flush=True)
    return 0 if verdict.is_good else 1


def _wait_until_drained(database: Database, processes: Processes) -> float:
    started = time.monotonic()
    while time.monotonic() - started < DRAINED_WITHIN:
        processes.fill(publishing=False)
        with contextlib.suppress(Exception):
            if database.pending() == 0:
                break
        time.sleep(0.2)
    return time.monotonic() - started


if __name__ == "__main__":
    raise SystemExit(main())
