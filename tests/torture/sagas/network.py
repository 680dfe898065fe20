"""
The network between the services: loses, doubles and overtakes, by the seed.

Relays publish to one exchange and consumers hear another; this is all between them.
What was to be lost is lost for good, but for timeouts and announcements: they are to
come from an outbox, which does not lose, so they only come twice, late, and in any
order.
"""

from __future__ import annotations

import heapq
import json
import random
import threading
import time
from collections import Counter
from itertools import count
from typing import Any

import pika

from tests.torture.witness import EVENTS, connect

from .faults import TIMEOUT, fate

DELIVERED, WIRE = "torture-delivered", "wire"
COMMANDS = ("stock.#", "payments.#", "shipping.#")
REPLY = "saga.reply"
LOST, DOUBLED, LATE, HELD = 0.1, 0.15, 0.5, 0.02


class Network(threading.Thread):
    """Runs until it is stopped; `calm` lets everything through."""

    def __init__(self, url: str, seed: int) -> None:
        super().__init__(name="network", daemon=True)
        self.seen: Counter[str] = Counter()
        self.calm = False
        self._url, self._seed = url, str(seed)
        self._ending, self._release = threading.Event(), threading.Event()
        self._orders: dict[str, int] = {}
        self._times: Counter[str] = Counter()
        self._due: list[tuple[float, int, Any]] = []
        self._held: list[Any] = []  # Until everything else is over.
        self._number = count()

    @property
    def is_idle(self) -> bool:
        return not self._due

    def let_go(self) -> int:
        """What was held comes now, long after anybody has waited for it."""
        found = len(self._held)
        self._release.set()
        return found

    def stop(self) -> None:
        self._ending.set()
        self.join(10)

    def run(self) -> None:
        connection = connect(self._url)
        channel = connection.channel()
        for method, properties, body in channel.consume(
            WIRE, auto_ack=True, inactivity_timeout=0.02
        ):
            if method is not None:
                self._take((method.routing_key, properties, body))
            if self._release.is_set() and self._held:
                for message in self._held:
                    self._later(message, 0)
                self._held = []
            while self._due and self._due[0][0] <= time.monotonic():
                key, properties, body = heapq.heappop(self._due)[2]
                channel.basic_publish(DELIVERED, key, body, properties)
            if self._ending.is_set():
                break
        connection.close()

    def _take(self, message: tuple[str, pika.BasicProperties, bytes]) -> None:
        type, properties, body = message
        headers = properties.headers
        if self.calm or "strangler-saga" not in headers:
            self._later(message, 0)
            return
        saga = str(headers["strangler-saga"])
        payload = json.loads(body)
        order = self._orders.setdefault(saga, payload.get("order", 0))
        step = headers["strangler-saga-step"]
        turn, attempt = (headers[f"strangler-saga-{n}"] for n in ("turn", "attempt"))
        name = f"{order} {type} {step} {turn} {attempt}"
        self._times[name] += 1
        chance = random.Random(f"{self._seed} {name} {self._times[name]}")
        kind = "command" if not type.startswith("saga.") else type
        self.seen[kind] += 1
        undoing = type.endswith((".release", ".void")) or (
            type == REPLY and payload["outcome"] in ("undone", "null")
        )
        way = fate(self._seed, order, step, undoing=undoing)
        may_lose = kind in ("command", REPLY)
        if may_lose and (
            chance.random() < LOST
            or (kind == "command" and way == "is never asked")
            or (kind == REPLY and way == "is never heard")
        ):
            self.seen[f"{kind} lost"] += 1
            return
        copies = 1 + (chance.random() < DOUBLED)
        self.seen[f"{kind} doubled"] += copies - 1
        for _ in range(copies):
            if may_lose and chance.random() < HELD:
                self.seen[f"{kind} held to the end"] += 1
                self._held.append(message)
            elif chance.random() < LATE:
                self.seen[f"{kind} late"] += 1
                self._later(message, chance.uniform(0, 1.5 * TIMEOUT))
            else:
                self._later(message, 0)

    def _later(self, message: Any, seconds: float) -> None:
        at = time.monotonic() + seconds
        heapq.heappush(self._due, (at, next(self._number), message))


def declare(url: str, queues: dict[str, tuple[str, ...]], delays: Any) -> None:
    """The wire, and the queues of the consumers behind it."""
    from django_strangler.brokers.base import WorkQueue
    from django_strangler.brokers.rabbitmq import declare

    connection = connect(url)
    channel = connection.channel()
    channel.exchange_declare(EVENTS, "topic", durable=True)
    channel.exchange_declare(DELIVERED, "topic", durable=True)
    channel.queue_declare(WIRE, durable=True)
    channel.queue_bind(WIRE, EVENTS, "#")
    for queue, patterns in queues.items():
        work = WorkQueue(name=queue, patterns=(), retry_delays=delays)
        declare.prepare(connection, work, EVENTS)
        for pattern in patterns:
            channel.queue_bind(queue, DELIVERED, pattern)
    connection.close()


__all__ = ["COMMANDS", "Network", "declare"]
