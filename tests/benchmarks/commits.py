"""
Publishes at a steady rate, and tells when each event was committed.

    python -m tests.benchmarks.commits RATE SECONDS [AMQP-URL QUEUE]

With a queue, it consumes that as well and tells how long each took; a process of its
own, so that neither end shares a processor's turn with the relay.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

TYPE = "fine.settled"


class Commits:
    """That process, from the outside."""

    def __init__(self, url: str, rate: int, seconds: float, *queue: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(rate), str(seconds), *queue],
            env={**os.environ, "DATABASE_URL": url},
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, done: Callable[[], object]) -> Callable[[], dict[str, float]]:
        """Call this when all are committed; what is returned gives the answer."""
        said: list[str] = []

        def wait() -> None:
            said.append(self._process.communicate()[0])
            done()

        thread = threading.Thread(target=wait)
        thread.start()

        def answer() -> dict[str, float]:
            thread.join()
            found: dict[str, float] = json.loads(said[0])
            return found

        return answer


def p99(
    told: Mapping[str, float], arrived: Mapping[str, float] | None = None
) -> tuple[float, float]:
    """Milliseconds from commit to arrival: the median, and all but a hundredth."""
    if arrived is not None:
        told = {id: arrived[id] - at for id, at in told.items()}
    took = sorted(1000 * seconds for seconds in told.values())
    return statistics.median(took), took[int(0.99 * len(took))]


def main() -> None:
    rate, seconds = int(sys.argv[1]), float(sys.argv[2])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    from django.db import transaction

    from django_strangler import publish_event

    arrived: dict[str, float] = {}
    published = threading.Event()
    consumer = threading.Thread(
        target=consume, args=[*sys.argv[3:5], arrived, published]
    )
    if sys.argv[3:]:
        consumer.start()
    committed: dict[str, float] = {}
    began = time.monotonic()
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        with transaction.atomic():
            event = publish_event(TYPE, {"note": "x" * 284}, key=f"paced:{number}")
        committed[str(event.id)] = time.monotonic()
    if sys.argv[3:]:
        deadline = time.monotonic() + 30
        while not committed.keys() <= arrived.keys() and time.monotonic() < deadline:
            time.sleep(0.05)
        committed = {
            id: arrived.get(id, float("inf")) - at for id, at in committed.items()
        }
    published.set()
    print(json.dumps(committed))


def consume(
    url: str, queue: str, arrived: dict[str, Any], stop: threading.Event
) -> None:
    """When each event came, for the first time."""
    import pika

    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for method, properties, _ in channel.consume(
        queue, auto_ack=True, inactivity_timeout=0.2
    ):
        if method is not None:
            arrived.setdefault(properties.message_id, time.monotonic())
        if stop.is_set():
            break
    connection.close()


if __name__ == "__main__":
    main()
