"""
The witness: a stream behind the exchange, append-only, read after the run.

Behind the events exchange stands a second one, and behind that every queue. So one
binding decides whether the events are routable at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pika

from .crew import QUEUE, RETRY_DELAYS
from .history import Copy
from .publisher import HANDLED

EVENTS, FAN_OUT = "domain-events", "torture-fan-out"
STREAM, WORK = "torture-witness", "torture-work"
# Sick from the beginning to the end: one takes nothing but its first message, the other
# is the only one that lives on two nodes, if there are two.
FULL, STUCK = "torture-full", "torture-stuck"
WANTED, ORPHANS = ("torture.#", "forbidden.#"), "orphan.#"
MARKER = "torture-marker"


def connect(url: str) -> Any:
    return pika.BlockingConnection(pika.URLParameters(url))


def declare(url: str) -> None:
    """Exchanges and queues, those of the consumers included."""
    from django_strangler.brokers.base import WorkQueue
    from django_strangler.brokers.rabbitmq import declare

    connection = connect(url)
    channel = connection.channel()
    channel.exchange_declare(EVENTS, "topic", durable=True)
    channel.exchange_declare(FAN_OUT, "topic", durable=True)
    for queue, kind in ((STREAM, "stream"), (WORK, "quorum")):
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})
        channel.queue_bind(queue, FAN_OUT, "#")
    delays = tuple(map(float, RETRY_DELAYS))
    effects = WorkQueue(name=QUEUE, patterns=(), retry_delays=delays)
    declare.prepare(connection, effects, EVENTS)
    for pattern in HANDLED:
        channel.queue_bind(QUEUE, FAN_OUT, pattern)
    for pattern in WANTED:
        channel.exchange_bind(FAN_OUT, EVENTS, pattern)
    for queue, pattern in ((FULL, "full.#"), (STUCK, "stuck.#")):
        quorum = {"x-queue-type": "quorum", "x-quorum-initial-group-size": 1}
        channel.queue_declare(queue, durable=True, arguments=quorum)
        channel.queue_bind(queue, EVENTS, pattern)
    connection.close()


def spread(url: str) -> None:
    """Let the queue that is to lose its majority live on both nodes."""
    connection = connect(url)
    channel = connection.channel()
    channel.queue_delete(STUCK)
    quorum = {"x-queue-type": "quorum", "x-quorum-initial-group-size": 2}
    channel.queue_declare(STUCK, durable=True, arguments=quorum)
    channel.queue_bind(STUCK, EVENTS, "stuck.#")
    connection.close()


def route(url: str, pattern: str, *, bound: bool) -> None:
    """Make events routable, or not."""
    connection = connect(url)
    channel = connection.channel()
    bind = channel.exchange_bind if bound else channel.exchange_unbind
    bind(FAN_OUT, EVENTS, pattern)
    connection.close()


def mark(url: str, name: str, queue: str = STREAM) -> None:
    """A place in the queue to come back to."""
    connection = connect(url)
    channel = connection.channel()
    channel.confirm_delivery()
    body = json.dumps({"name": name, "number": 0}).encode()
    # Through no exchange: whatever else there is, it reaches this queue alone.
    channel.basic_publish("", queue, body, pika.BasicProperties(message_id=MARKER))
    connection.close()


def depth(url: str, queue: str) -> int:
    """How many messages wait in it."""
    connection = connect(url)
    frame = connection.channel().queue_declare(queue, passive=True)
    connection.close()
    return int(frame.method.message_count)


def read(url: str, queue: str = STREAM) -> Iterator[Copy]:
    """Everything that entered the stream, in order; or what a work queue holds."""
    # How slowly they come says nothing of whether there are more.
    end = f"end {uuid4()}"
    mark(url, end, queue)
    connection = connect(url)
    channel = connection.channel()
    channel.basic_qos(prefetch_count=2000)
    offset = {"x-stream-offset": "first"} if queue == STREAM else {}
    last = 0
    for method, properties, body in channel.consume(
        queue, arguments=offset, inactivity_timeout=60
    ):
        assert method is not None, f"{queue} does not hand out all that is in it"
        last = method.delivery_tag
        if last % 500 == 0:
            channel.basic_ack(last, multiple=True)
        payload = json.loads(body)
        if payload["name"] == end:
            break
        if queue != STREAM and properties.message_id == MARKER:
            continue
        yield Copy(properties.message_id, payload["name"], payload["number"])
    if last % 500:
        channel.basic_ack(last, multiple=True)
    connection.close()
