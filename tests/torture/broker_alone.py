"""
What RabbitMQ alone keeps of what it confirmed, when it is killed.

    python -m tests.torture.broker_alone --kills 20

Evidence for docs/explanation/guarantees.md: pika only, nothing of django-strangler. Two
connections publish with asynchronous confirms to an exchange with a stream and a quorum
queue behind it; the node is killed with SIGKILL and started again; in the end both are
read, and every confirmed message that is missing is counted, with its distance from the
kill that followed its confirm.
"""

from __future__ import annotations

import argparse
import contextlib
import threading
import time
from typing import Any

import pika
import pika.exceptions

EXCHANGE, STREAM, QUORUM = "alone", "alone-stream", "alone-quorum"
WINDOW = 300


class Publisher(threading.Thread):
    """Publishes numbers and notes when each was confirmed."""

    def __init__(self, url: str, name: str, rate: float) -> None:
        super().__init__(daemon=True)
        self.url, self.prefix, self.rate = url, name, rate
        self.confirmed: dict[str, float] = {}
        self.stopping = False
        self._number = 0

    def run(self) -> None:
        while not self.stopping:
            with contextlib.suppress(pika.exceptions.AMQPError, OSError):
                self._connected()
            time.sleep(0.1)

    def _connected(self) -> None:
        unconfirmed: dict[int, str] = {}
        tag = oldest = 0
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        # Blocking, but below its confirm mode, which waits for each ack.
        channel: Any = connection.channel()

        def acknowledged(frame: Any) -> None:
            nonlocal oldest
            method = frame.method
            first = oldest + 1 if method.multiple else method.delivery_tag
            for each in range(first, method.delivery_tag + 1):
                label = unconfirmed.pop(each, None)
                if label is not None and isinstance(method, pika.spec.Basic.Ack):
                    self.confirmed[label] = time.monotonic()
            if method.multiple:
                oldest = method.delivery_tag

        channel._impl.confirm_delivery(acknowledged)
        began, sent = time.monotonic(), 0
        while not self.stopping:
            due = (time.monotonic() - began) * self.rate
            while len(unconfirmed) < WINDOW and sent < due:
                self._number += 1
                tag += 1
                sent += 1
                label = f"{self.prefix}-{self._number}"
                unconfirmed[tag] = label
                channel._impl.basic_publish(
                    EXCHANGE,
                    "alone.event",
                    label.encode().ljust(300),
                    pika.BasicProperties(delivery_mode=2, message_id=label),
                    mandatory=True,
                )
            connection.process_data_events(0.005)
        deadline = time.monotonic() + 5
        while unconfirmed and time.monotonic() < deadline:
            connection.process_data_events(0.05)
        connection.close()


def declare(url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.exchange_declare(EXCHANGE, "topic", durable=True)
    for queue, kind in ((STREAM, "stream"), (QUORUM, "quorum")):
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})
        channel.queue_bind(queue, EXCHANGE, "#")
    connection.close()


def read(url: str, queue: str) -> list[str]:
    """The labels in it, in order."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel: Any = connection.channel()
    channel.basic_qos(prefetch_count=1000)
    offset = {"x-stream-offset": "first"} if queue == STREAM else {}
    labels = []
    for method, properties, _ in channel.consume(
        queue, arguments=offset, inactivity_timeout=5
    ):
        if method is None:
            break
        channel.basic_ack(method.delivery_tag)
        labels.append(properties.message_id)
    connection.close()
    return labels


def main() -> int:
    from tests.services.rabbitmq import RABBITMQ
    from tests.services.services import Services

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rate", type=float, default=1000, help="per connection")
    parser.add_argument("--between", type=float, default=2.0, help="seconds")
    options = parser.parse_args()
    services = Services()
    try:
        node: Any = services.get_dedicated(RABBITMQ)
        declare(node.url)
        node.settle()
        publishers = [Publisher(node.url, name, options.rate) for name in "ab"]
        for each in publishers:
            each.start()
        kills: list[float] = []
        for _ in range(options.kills):
            time.sleep(options.between)
            kills.append(time.monotonic())
            node.kill()
            node.start()
        time.sleep(options.between)
        for each in publishers:
            each.stopping = True
        for each in publishers:
            each.join(30)
        confirmed = {
            label: at for each in publishers for label, at in each.confirmed.items()
        }
        print(f"{len(kills)} kills, {len(confirmed)} confirmed")
        for queue in (STREAM, QUORUM):
            labels = read(node.url, queue)
            missing = confirmed.keys() - set(labels)
            print(f"{queue}: {len(labels)} messages, {len(missing)} confirmed lost")
            for number, kill in enumerate(kills):
                ages = [
                    kill - confirmed[label]
                    for label in missing
                    if (kills[number - 1] if number else 0) < confirmed[label] <= kill
                ]
                if ages:
                    print(
                        f"  kill {number + 1}: {len(ages)} lost, confirmed "
                        f"{min(ages):.3f} to {max(ages):.3f} s before it"
                    )
    finally:
        services.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
