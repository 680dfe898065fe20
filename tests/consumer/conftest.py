"""A queue of its own, somebody who publishes to it, and consumers of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import pika
import pytest
from django.db import connections, router
from reporting.models import Activity

from django_strangler import conf, tracing
from django_strangler.brokers import make_source
from django_strangler.brokers.base import WorkQueue
from django_strangler.inbox.consumer import Consumer
from django_strangler.inbox.consumer_row import ConsumerRow
from django_strangler.inbox.handling import inbox_alias
from django_strangler.inbox.models import InboxEntry
from django_strangler.inbox.workers import Worker
from tests.inbox.conftest import registry
from tests.services.rabbitmq import RabbitMQ
from tests.waiting import wait_for

__all__ = ["registry"]

QUICK = (0.05, 0.1)  # Delays of retries, so that tests need not wait.


@dataclass
class Broker:
    """RabbitMQ as a test sees it: with its own names, and by its own connection."""

    url: str
    queue: str
    exchange: str
    server: RabbitMQ
    unconfirmed: bool = False  # Publish without waiting for each confirm.
    _connection: Any = None
    _channel: Any = None

    @property
    def vhost(self) -> str:
        return unquote(urlsplit(self.url).path[1:])

    @property
    def user(self) -> str:
        return urlsplit(self.url).username or "guest"

    def cut_consumers(self) -> None:
        """RabbitMQ closes the connections that consume from the queue."""
        found = self.server.ctl(
            "list_consumers", "--silent", "-p", self.vhost, "queue_name", "channel_pid"
        )
        for line in found.splitlines():
            queue, pid = line.split("\t")
            if queue == self.queue:
                self.server.evaluate(f'exit(rabbit_misc:string_to_pid("{pid}"), kill)')

    @property
    def channel(self) -> Any:
        if self._channel is None or self._channel.is_closed:
            if self._connection is None or self._connection.is_closed:
                parameters = pika.URLParameters(self.url)
                parameters.heartbeat = 0  # Nobody serves it between a test's calls.
                self._connection = pika.BlockingConnection(parameters)
            self._channel = self._connection.channel()
            if not self.unconfirmed:
                self._channel.confirm_delivery()
        return self._channel

    def publish(
        self,
        body: bytes | Any = None,
        *,
        type: str | None = "payment.completed",
        id: str | None = "",
        key: str = "",
        headers: dict[str, Any] | None = None,
        routing_key: str = "",
        exchange: str | None = None,
        **properties: Any,
    ) -> str:
        """One event as a relay sends it, unless told otherwise; returns its id."""
        id = str(uuid4()) if id == "" else id
        properties.setdefault("app_id", "monolith")
        given = {
            "strangler-published-at": datetime.now(timezone.utc).isoformat(),
            **({"strangler-key": key} if key else {}),
            **(headers or {}),
        }
        with tracing.untraced():  # An instrumentation would replace the headers.
            self.channel.basic_publish(
                self.exchange if exchange is None else exchange,
                routing_key or type or "payment.completed",
                body if isinstance(body, bytes) else json.dumps(body or {}).encode(),
                pika.BasicProperties(
                    message_id=id,
                    type=type,
                    headers=given,
                    delivery_mode=2,
                    **properties,
                ),
                mandatory=True,
            )
        return id or ""

    def depth(self, suffix: str = "") -> int:
        """How many messages are ready there."""
        found = self.channel.queue_declare(self.queue + suffix, passive=True)
        return int(found.method.message_count)

    def left(self) -> int:
        """How many messages are on their way, also with a consumer or in a pause."""
        delays = ("50ms", "100ms", "200ms", "500ms")
        names = [self.queue, *(f"{self.queue}.retry.{each}" for each in delays)]
        found = self.server.ctl(
            "list_queues", "--silent", "-p", self.vhost, "name", "messages"
        )
        counts = dict(line.split("\t") for line in found.splitlines())
        return sum(int(counts.get(name, 0)) for name in names)

    def get(self, suffix: str = ".dead") -> Any:
        """The next message there, taken away: its properties and its body."""
        method, properties, body = self.channel.basic_get(
            self.queue + suffix, auto_ack=True
        )
        return None if method is None else (properties, body)

    def close(self) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.close()


@pytest.fixture
def broker(vhost, rabbitmq) -> Iterator[Broker]:
    name = vhost.own("receipts")
    delays = ("50ms", "100ms", "200ms", "500ms", "5s", "600s")
    for suffix in (".dead", ".copies", *(f".retry.{each}" for each in delays)):
        vhost.own(f"receipts{suffix}")
    broker = Broker(vhost.url, name, vhost.own("domain-events"), rabbitmq)
    yield broker
    broker.close()


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Send the inbox, and whatever the subscribers write, to this database."""

    def route(alias: str) -> str:
        monkeypatch.setattr(router, "db_for_write", lambda model, **hints: alias)
        return alias

    return route


@pytest.fixture
def db(postgresql_db, routed) -> str:
    """Where the inbox is."""
    return routed(postgresql_db)


@dataclass
class Running:
    """A consumer on a thread of its own."""

    consumer: Consumer
    stop: threading.Event
    thread: threading.Thread
    errors: list[BaseException] = field(default_factory=list)

    def finish(self) -> None:
        self.stop.set()
        self.thread.join(60)
        assert not self.thread.is_alive()

    @property
    def totals(self) -> Any:
        return self.consumer.totals


@pytest.fixture
def consume(broker) -> Iterator[Callable[..., Running]]:
    """Start a consumer, and wait until it takes deliveries."""
    started: list[Running] = []

    def start(
        *patterns: str,
        threads: int = 0,
        wait: bool = True,
        url: str = "",
        strangler: dict[str, Any] | None = None,
        given: dict[str, Any] | None = None,  # To the consumer.
        **options: Any,
    ) -> Running:
        settings = conf.parse(
            {
                "BROKER_URL": url or broker.url,
                "EXCHANGE": broker.exchange,
                **(strangler or {}),
            }
        )
        queue = WorkQueue(
            name=broker.queue,
            patterns=patterns or ("payment.*",),
            **{"retry_delays": QUICK, **options},
        )
        stop = threading.Event()
        consumer = Consumer(
            make_source(settings, queue),
            threads=threads or (1 if _is_sqlite() else 4),
            settings=settings,
            stop=stop,
            **{"tick": 0.01, "in_place": (0.01, 0.02), **(given or {})},
        )
        running = Running(consumer, stop, threading.Thread(target=lambda: run(running)))
        started.append(running)
        running.thread.start()
        if wait:
            wait_for(lambda: consumer.source.ready or running.errors)
            assert not running.errors
        return running

    def run(running: Running) -> None:
        try:
            running.consumer.run()
        except BaseException as error:  # noqa: BLE001
            running.errors.append(error)
        finally:
            connections.close_all()

    yield start

    for running in started:
        running.finish()
    # Also those that were given up: their connections are to be closed.
    ours = (Worker, ConsumerRow)
    wait_for(lambda: not [t for t in threading.enumerate() if isinstance(t, ours)])


def _is_sqlite() -> bool:
    return connections[inbox_alias()].vendor == "sqlite"


def effect(alias: str, type: str = "done") -> None:
    """A row that a subscriber writes."""
    Activity.objects.using(alias).create(day=date(2026, 1, 1), type=f"{type}-{uuid4()}")


def effects(alias: str, type: str = "done") -> int:
    return Activity.objects.using(alias).filter(type__startswith=f"{type}-").count()


def entries(alias: str) -> set[tuple[str, str]]:
    rows = InboxEntry.objects.using(alias).values_list("subscriber", "event_id")
    return {(subscriber, str(id)) for subscriber, id in rows}
