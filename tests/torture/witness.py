"""The witness: a stream behind the exchange, append-only, read after the run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pika

STREAM, WORK = "torture-witness", "torture-work"


def declare(url: str, exchange: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.exchange_declare(exchange, "topic", durable=True)
    channel.queue_declare(STREAM, durable=True, arguments={"x-queue-type": "stream"})
    channel.queue_declare(WORK, durable=True, arguments={"x-queue-type": "quorum"})
    for queue in (STREAM, WORK):
        channel.queue_bind(queue, exchange, "#")
    connection.close()


def read(url: str, queue: str = STREAM) -> Iterator[tuple[str, int]]:
    """Everything that entered the stream, in order; or what a work queue holds."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel: Any = connection.channel()
    channel.basic_qos(prefetch_count=1000)
    offset = {"x-stream-offset": "first"} if queue == STREAM else {}
    for method, _, body in channel.consume(
        queue, arguments=offset, inactivity_timeout=5
    ):
        if method is None:
            break
        channel.basic_ack(method.delivery_tag)
        payload = json.loads(body)
        yield payload["key"], payload["number"]
    connection.close()
