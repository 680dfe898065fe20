"""The far side of RabbitMQ for tests: queues, and what arrives in them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

import pika
import pytest

from django_strangler.brokers import Broker
from django_strangler.brokers.rabbitmq import Limits, RabbitMQBroker
from django_strangler.conf import Settings
from tests.services.proxy import Proxy
from tests.services.vhosts import Vhost

LOGGER = "django_strangler.brokers.rabbitmq"


def with_options(url: str, **changes: Any) -> str:
    """The URL with another port, user or path, and with query parameters."""
    parts = urlsplit(url)
    user = changes.pop("user", parts.username)
    password = changes.pop("password", parts.password)
    port = changes.pop("port", parts.port)
    path = changes.pop("path", parts.path)
    netloc = f"{user}:{password}@{parts.hostname}:{port}"
    query = urlencode(changes)
    return parts._replace(netloc=netloc, path=path, query=query).geturl()


class RabbitSide:
    """One vhost, seen by an administrator; the broker under test goes by the proxy."""

    def __init__(self, vhost: Vhost, proxy: Proxy) -> None:
        self.url, self.proxy = vhost.url, proxy
        self.own = vhost.own
        self.exchange = vhost.own("domain-events")
        self.lose_connections = proxy.cut
        self.break_down = proxy.refuse
        self.mend = proxy.heal

    @contextlib.contextmanager
    def channel(self) -> Iterator[Any]:
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        try:
            yield connection.channel()
        finally:
            connection.close()

    def declare_exchange(self, type: str = "topic") -> None:
        with self.channel() as channel:
            channel.exchange_declare(self.exchange, type, durable=True)

    def delete_exchange(self) -> None:
        with self.channel() as channel:
            channel.exchange_delete(self.exchange)

    def bind(self, queue: str, pattern: str, **arguments: Any) -> None:
        with self.channel() as channel:
            channel.exchange_declare(self.exchange, "topic", durable=True)
            channel.queue_declare(self.own(queue), durable=True, arguments=arguments)
            channel.queue_bind(self.own(queue), self.exchange, pattern)

    def take(self, queue: str, count: int) -> list[tuple[Any, Any, bytes]]:
        """That many messages, as (method, properties, body)."""
        taken = []
        with self.channel() as channel:
            for method, properties, body in channel.consume(
                self.own(queue), auto_ack=True, inactivity_timeout=60
            ):
                if method is None:
                    break
                taken.append((method, properties, body))
                if len(taken) == count:
                    break
            channel.cancel()
        assert len(taken) == count, f"{len(taken)} messages of {count}"
        return taken

    def received(self, queue: str, count: int) -> list[str]:
        return [properties.message_id for _, properties, _ in self.take(queue, count)]

    def ids(self, queue: str) -> set[str]:
        """Whatever is there now, without repetition."""
        found = set()
        with self.channel() as channel:
            while True:
                method, properties, _ = channel.basic_get(self.own(queue), True)
                if method is None:
                    return found
                found.add(properties.message_id)


class LogBook:
    """Every record of every logger while a test runs, and what ours said."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog

    @property
    def lines(self) -> list[str]:
        return [
            record.getMessage()
            for record in self.caplog.records
            if record.name.startswith("django_strangler")
        ]

    def count(self, part: str) -> int:
        return sum(part in line for line in self.lines)

    def holds_no(self, secrets: Sequence[str]) -> None:
        """Not in the text, nor in an argument, nor in a traceback."""
        formatter = logging.Formatter()
        for record in self.caplog.records:
            text = formatter.format(record) + repr(record.args)
            for secret in secrets:
                assert secret not in text, f"{record.name} told a password: {text}"

    def of_pika(self) -> list[str]:
        return [
            record.getMessage()
            for record in self.caplog.records
            if record.name.partition(".")[0] == "pika"
            and record.threadName != "MainThread"
        ]


MakeRabbit = Callable[..., Broker]


def open_broker(
    *urls: str, exchange: str, limits: Limits | None = None, **settings: Any
) -> Broker:
    urls = tuple(map(_patient, urls))
    given = Settings(broker_url=urls, exchange=exchange, **settings)
    broker = RabbitMQBroker(urls, given, limits=limits)
    broker.open()
    return broker


def _patient(url: str) -> str:
    """Unless a test is about that, a busy machine's RabbitMQ may confirm late."""
    if "confirm_timeout=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}confirm_timeout=30"
