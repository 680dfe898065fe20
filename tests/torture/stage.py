"""Everything that is on stage in one run, and what the run leaves as evidence."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.services.databases import Databases, database_url
from tests.services.proxy import Proxy
from tests.services.rabbitmq import another_node
from tests.services.services import Services

from . import servers, witness
from .crew import QUEUE, WINDOWS, Crew
from .database import Database
from .history import History, Left, Parking
from .models import create_tables
from .publisher import KEYS

RELAY_USER = "relay"
CONFIRM_TIMEOUT = 3


class Stage:
    """Servers, networks and processes; faults are done to them."""

    def __init__(
        self,
        server: Any,
        rabbitmq: Any,
        database: Database,
        logs: Path,
        *,
        seed: int,
        rate: float,
        environment: dict[str, str],
        second: Any = None,
    ) -> None:
        self.second = second  # RabbitMQ's other node, if a fault needs one.
        self.server, self.rabbitmq, self.database = server, rabbitmq, database
        self.logs = logs
        self.began = time.monotonic()
        places = range(len(WINDOWS))
        # A network of its own for each relay, and one for all consumers.
        self.to_broker = [Proxy(rabbitmq.port) for _ in places]
        self.to_database = [Proxy(server.port) for _ in places]
        self.to_consumers = Proxy(rabbitmq.port)
        self.justified: list[tuple[int, int]] = []  # Parkings, from one to another.
        url = database_url(database.alias)
        environments = {("publisher", 0): {"DATABASE_URL": url, **environment}}
        for place in places:
            environments["relay", place] = {
                "DATABASE_URL": _through(url, server, self.to_database[place]),
                "BROKER_URL": self._broker_url(self.to_broker[place], RELAY_USER),
                **environment,
            }
        environments["consumer", 0] = {
            "DATABASE_URL": url,
            "BROKER_URL": self._broker_url(self.to_consumers),
            **environment,
        }
        self.crew = Crew(environments, logs, seed, rate)

    def _broker_url(self, proxy: Proxy, user: str = "") -> str:
        url = str(_through(self.rabbitmq.url, self.rabbitmq, proxy))
        if user:
            url = url.replace("//guest:", f"//{user}:")
        return f"{url}?confirm_timeout={CONFIRM_TIMEOUT}&heartbeat=5"

    @property
    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began

    @property
    def windows(self) -> tuple[int, ...]:
        """Of all relays that live."""
        return tuple(each.window for each in self.crew.of("relay"))

    def prepare(self) -> None:
        """Tables, queues, and a user of the broker who may not do everything."""
        from django.db import connections

        create_tables(connections[self.database.alias], KEYS)
        node = self.rabbitmq
        witness.declare(node.url)
        node.add_user(RELAY_USER)
        # One type of events may not be sent.
        allowed = "^(torture|orphan|full|stuck)[.]"
        node.allow_types(RELAY_USER, witness.EVENTS, allowed)
        node.limit(witness.FULL, 1, policy="sick")
        node.settle()

    def join(self, second: Any) -> None:
        """RabbitMQ gets another node, on which one queue depends."""
        second.start()
        self.second = second
        witness.spread(self.rabbitmq.url)
        self.rabbitmq.settle()

    def allow_everything(self) -> None:
        """Let the broker take whatever it refused, and replay that."""
        node = self.rabbitmq
        node.allow_types(RELAY_USER, witness.EVENTS, ".*")
        # RabbitMQ 4 looks where it has put the setting when it started.
        node.evaluate(
            "application:set_env(rabbit, max_message_size, 134217728), "
            "persistent_term:put(max_message_size, 134217728)"
        )
        witness.route(node.url, witness.ORPHANS, bound=True)
        # Raised before it is taken away, as in the fault that fills the other queue.
        node.limit(witness.FULL, 1_000_000_000, policy="sick")
        witness.mark(node.url, "room", witness.FULL)
        node.limit(witness.FULL, 0, policy="sick")
        if self.second is not None:
            self.second.start()
        # What is held goes on at once, and need not wait for its next probe.
        self.database.query("DELETE FROM strangler_heldtype")
        # Channels keep the limit that they were opened with, relays their grudges.
        for relay in self.crew.of("relay"):
            relay.stop()
        self.crew.fill()
        self.replay("#")

    def replay(self, pattern: str) -> str:
        """Send what was parked again."""
        return self.crew.run("replay_events", "--type", pattern, "--no-input")

    def wait_until_idle(self, limit: float) -> None:
        """Until all is sent that may be sent."""
        self._wait(lambda: self.database.due() == 0, limit)

    def wait_until_drained(self, limit: float) -> None:
        """Until nothing is left; replays what was parked on the way."""
        self._wait(self._is_drained, limit)

    def _wait(self, is_done: Callable[[], bool], limit: float) -> None:
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            self.crew.fill()
            with contextlib.suppress(Exception):
                if is_done():
                    break
            time.sleep(0.2)

    def _is_drained(self) -> bool:
        if self.database.parked():
            self.replay("#")
            return False
        return not self.database.pending() and self._is_consumed()

    def _is_consumed(self) -> bool:
        return bool(self.rabbitmq.messages(QUEUE) == 0)

    # Evidence.

    def collect(self, history: History) -> None:
        """What was committed and what was done, from the tables and the queues."""
        query = self.database.query
        accounts = "SELECT torture_account.key, count FROM torture_account"
        history.counted = dict(query(accounts))
        history.claimed = [name for (name,) in query("SELECT name FROM torture_claim")]
        history.effects = Counter(
            _uuid(event) for (event,) in query("SELECT event FROM torture_effect")
        )
        history.parked = [
            Parking(
                _uuid(event),
                type,
                reason,
                self.crew.windows.get(relay or "", max(WINDOWS)),
                any(first < id <= last for first, last in self.justified),
            )
            for id, event, type, reason, relay in query(
                "SELECT id, event, type, reason, relay FROM torture_parking ORDER BY id"
            )
        ]
        due = f"o.available_at IS NULL OR o.available_at <= {self.database.now}"
        history.left = [
            Left(_uuid(event), type, state)
            for event, type, state in query(
                "SELECT o.event_id, o.type, CASE WHEN o.parked_at IS NOT NULL "
                f"THEN 'parked' WHEN {due} THEN 'pending' ELSE 'not due' END "
                "FROM strangler_outboxevent o WHERE o.confirmed_at IS NULL"
            )
        ]
        history.stream = list(witness.read(self.rabbitmq.url))
        history.work = list(witness.read(self.rabbitmq.url, witness.WORK))
        for queue in (witness.FULL, witness.STUCK):
            history.sick += witness.read(self.rabbitmq.url, queue)

    def close(self) -> None:
        self.crew.close()
        for server in filter(None, (self.server, self.rabbitmq, self.second)):
            (self.logs / f"{server.key}-{server.port}.log").write_bytes(
                server.output.read_bytes()
            )
        for proxy in (*self.to_broker, *self.to_database, self.to_consumers):
            proxy.close()


@contextlib.contextmanager
def staged(
    kind: str,
    logs: Path,
    *,
    seed: int,
    rate: float,
    environment: dict[str, str],
    nodes: int = 1,
) -> Iterator[Stage]:
    """Start everything; in the end nothing is left of it but the logs."""
    services = Services()
    databases = Databases(services)
    try:
        server, rabbitmq = servers.start(services, kind)
        with databases.fresh(server) as alias:
            stage = Stage(
                server,
                rabbitmq,
                Database(alias, server),
                logs,
                seed=seed,
                rate=rate,
                environment=environment,
            )
            try:
                stage.prepare()
                if nodes > 1:
                    stage.join(services.start_private(another_node(rabbitmq)))
                yield stage
            finally:
                stage.close()
    finally:
        databases.close()
        services.close()


def _through(url: str, server: Any, proxy: Proxy) -> str:
    return url.replace(f":{server.port}/", f":{proxy.port}/")


def _uuid(value: Any) -> str:
    from uuid import UUID

    return str(UUID(str(value)))
