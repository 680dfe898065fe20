"""Servers, processes and the network between them, for one run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.services import processes
from tests.services.databases import Databases, database_url
from tests.services.mariadb import MARIADB
from tests.services.postgresql import POSTGRESQL
from tests.services.rabbitmq import RABBITMQ
from tests.services.services import Services
from tests.torture.servers import PickyRabbitMQ

from . import judge
from .network import COMMANDS, Network, declare
from .shop import BUYERS, ITEMS

ROOT = Path(__file__).parents[3]
KINDS = {"postgresql": POSTGRESQL, "mariadb": MARIADB}
RETRY_DELAYS = ("0.2", "1")
LEASE = "2"
QUEUES = {
    "torture-orchestrators": ("saga.#",),
    "torture-participants": COMMANDS,
}
LISTENS = {
    "torture-orchestrators": (
        "strangler-sagas-replies",
        "strangler-sagas-timeouts",
        "strangler-sagas-announcements",
        "shop-orders",
    ),
    "torture-participants": (
        "saga-stock-stock.reserve",
        "saga-bank-payments.authorise",
        "saga-bank-payments.capture",
        "saga-shipping-shipping.book",
    ),
}
STOCK, MONEY = 10_000, 100_000
# Who works on which side, and how many of them.
PLACES = {
    ("relay", "orchestrators"): 1,
    ("relay", "participants"): 1,
    ("consumer", "orchestrators"): 2,
    ("consumer", "participants"): 2,
}


class Stage:
    """Each side has a database: `orchestrators` and `participants`."""

    def __init__(
        self,
        urls: dict[str, str],
        rabbitmq: Any,
        logs: Path,
        *,
        seed: int,
        mutant: str,
        remember: Any,
    ) -> None:
        self.urls, self.rabbitmq, self.logs = urls, rabbitmq, logs
        self.kills = self.own_deaths = 0
        self.network = Network(rabbitmq.url, seed)
        self._seed, self._remember = str(seed), remember
        self._crew: dict[tuple[str, str, int], subprocess.Popen[Any]] = {}
        self._dying: set[int] = set()
        self._common = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.torture.sagas.settings",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'testproject'}",
            "TORTURE_LOGS": str(logs),
            "BROKER_URL": rabbitmq.url,
            "TORTURE_MUTANT": mutant,
        }

    def prepare(self) -> None:
        """Goods, money and queues."""
        delays = tuple(map(float, RETRY_DELAYS))
        declare(self.rabbitmq.url, QUEUES, delays)
        self.network.start()

    # Processes

    def start(self, name: str, side: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.logs / f"{name}-{side}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env={
                    **self._common,
                    "DATABASE_URL": self.urls[side],
                    "TORTURE_SEED": self._seed,
                },
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._remember(process.pid)  # It does not outlive the harness.
        return process

    def fill(self) -> None:
        """Replace whoever is gone."""
        for (role, side), number in PLACES.items():
            for place in range(number):
                known = self._crew.get((role, side, place))
                if known is not None and known.poll() is None:
                    continue
                if known is not None and known.pid not in self._dying:
                    self.own_deaths += 1
                self._crew[role, side, place] = self._start_one(role, side)

    def _start_one(self, role: str, side: str) -> subprocess.Popen[bytes]:
        if role == "relay":
            return self.start(role, side, "django", "drain_outbox", "--lease", LEASE)
        queue = f"torture-{side}"
        return self.start(
            *(role, side, "django", "consume_events", "--queue", queue),
            *("--no-declare", "--retry-delays", *RETRY_DELAYS),
            *("--subscribers", *LISTENS[queue]),
        )

    def kill(self, role: str, side: str, place: int) -> bool:
        """With signal 9, whatever it is doing; says whether it lived."""
        process = self._crew[role, side, place]
        if process.poll() is not None:
            return False
        self._dying.add(process.pid)
        process.kill()
        process.wait()
        self.kills += 1
        return True

    def mend(self) -> None:
        """From now on nothing goes wrong."""
        self.network.calm = True
        self._seed = ""
        for process in self._crew.values():
            self._dying.add(process.pid)
            process.send_signal(signal.SIGTERM)
        for process in self._crew.values():
            process.wait(180)
        self.fill()

    def run(self, *command: str) -> str:
        """To its end, on the orchestrators' side; what it says."""
        done = subprocess.run(
            [sys.executable, "-m", *command],
            env={**self._common, "DATABASE_URL": self.urls["orchestrators"]},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        return done.stdout + done.stderr

    # How far it is

    def count(self, side: str, sql: str) -> int:
        [row] = judge.query(self.urls[side], f"SELECT COUNT(*) AS n FROM {sql}")
        return int(row["n"])

    def states(self) -> dict[int, int]:
        """How many sagas are where."""
        rows = judge.query(
            self.urls["orchestrators"],
            "SELECT state, COUNT(*) AS n FROM strangler_sagas_sagarun GROUP BY state",
        )
        return {int(row["state"]): int(row["n"]) for row in rows}

    def is_quiet(self) -> bool:
        """Nothing is on its way, but for what is not due yet."""
        due = (
            "strangler_outboxevent WHERE confirmed_at IS NULL AND parked_at IS NULL "
            "AND available_at IS NULL"
        )
        return (
            self.network.is_idle
            and not any(self.count(side, due) for side in self.urls)
            and not self.rabbitmq.messages("torture-")
        )

    def close(self) -> None:
        self.network.stop()
        for process in self._crew.values():
            if process.poll() is None:
                processes.kill_tree(process.pid)
                process.wait()


@contextlib.contextmanager
def staged(
    kinds: tuple[str, str], logs: Path, *, seed: int, mutant: str
) -> Iterator[Stage]:
    """Start the servers and fill the tables; in the end, only logs are left."""
    from shop.models import Account, Item

    services = Services()
    databases = Databases(services)
    with contextlib.ExitStack() as stack:
        stack.callback(services.close)
        stack.callback(databases.close)
        servers = {kind: services.get_dedicated(KINDS[kind]) for kind in set(kinds)}
        urls = {}
        for side, kind in zip(("orchestrators", "participants"), kinds, strict=True):
            alias = stack.enter_context(databases.fresh(servers[kind]))
            urls[side] = database_url(alias)
        Item.objects.using(alias).bulk_create(
            Item(name=f"item-{number}", left=STOCK) for number in range(ITEMS)
        )
        Account.objects.using(alias).bulk_create(
            Account(owner=f"buyer-{number}", available=MONEY)
            for number in range(BUYERS)
        )
        stage = Stage(
            urls,
            services.get_dedicated(replace(RABBITMQ, private=PickyRabbitMQ)),
            logs,
            seed=seed,
            mutant=mutant,
            remember=services.run.remember,
        )
        stack.callback(stage.close)
        stage.prepare()
        yield stage
