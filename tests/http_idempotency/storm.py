"""Many clients send each key several times at once, while the workers are killed."""

from __future__ import annotations

import http.client
import json
import os
import queue
import random
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from django.db.models import Count

from django_strangler.models import OutboxEvent
from tests.docs.fences import ROOT
from tests.services.databases import database_url


class Worker:
    """A web server in a process of its own."""

    def __init__(self, alias: str, *, atomic_requests: bool, threads: bool) -> None:
        self._environment = {
            **os.environ,
            "DATABASE_URL": database_url(alias),
            "ATOMIC_REQUESTS": str(int(atomic_requests)),
            "THREADS": str(int(threads)),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "PYTHONPATH": os.pathsep.join([".", "testproject"]),
        }
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.http_idempotency.worker"],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@dataclass
class Verdict:
    statuses: Counter[int] = field(default_factory=Counter)
    answers: dict[str, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    lost: int = 0  # Requests whose worker died.
    kills: int = 0
    seconds: float = 0.0
    effects: dict[str, int] = field(default_factory=dict)

    def check(self, keys: int) -> None:
        assert set(self.statuses) <= {201, 409}, self.statuses
        assert len(self.answers) == len(self.effects) == keys
        twice = {key for key, number in self.effects.items() if number != 1}
        assert not twice, "An effect happened twice."
        differing = {key: each for key, each in self.answers.items() if len(each) != 1}
        assert not differing, f"Answered in two ways: {differing}"


def storm(
    alias: str,
    *,
    clients: int,
    keys: int,
    kills: int,
    atomic_requests: bool,
    threads: bool,
    seed: int = 1,
) -> Verdict:
    chance = random.Random(seed)
    requests: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    total = 0
    for key in range(keys):
        for _ in range(chance.randint(1, 5)):  # Next to each other: at once.
            requests.put(f"key-{key}")
            total += 1
    verdict, lock, stop = Verdict(), threading.Lock(), threading.Event()
    workers = [
        Worker(alias, atomic_requests=atomic_requests, threads=threads)
        for _ in range(2)
    ]
    began = time.monotonic()

    def client(seed: int) -> None:
        chance = random.Random(seed)
        while not requests.empty() and not stop.is_set():
            try:
                key = requests.get_nowait()
            except queue.Empty:
                return
            while not stop.is_set():
                try:
                    status, body = send(chance.choice(workers).port, key)
                except (OSError, http.client.HTTPException):
                    with lock:
                        verdict.lost += 1
                    time.sleep(0.02)
                    continue
                with lock:
                    verdict.statuses[status] += 1
                    if status == 201:
                        verdict.answers[key].add(body)
                if status != 409:
                    break

    senders = [
        threading.Thread(target=client, args=(number,), daemon=True)
        for number in range(clients)
    ]
    for each in senders:
        each.start()
    try:
        for number in range(kills):
            # At a point of the work, not of the clock.
            while (
                requests.qsize() > total * (1 - (number + 1) / (kills + 1))
                and not requests.empty()
            ):
                time.sleep(0.002)
            worker = workers[number % len(workers)]
            worker.kill()
            verdict.kills += 1
            worker.start()
        for each in senders:
            each.join()
    finally:
        stop.set()  # Also where the test was given up.
        for worker in workers:
            worker.kill()
    verdict.seconds = time.monotonic() - began
    found = OutboxEvent.objects.using(alias).values_list("key").annotate(Count("id"))
    verdict.effects = dict(found.order_by())
    return verdict


def send(port: int, key: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(
            "POST",
            "/pay/",
            json.dumps({"key": key}),
            {"Idempotency-Key": key, "Content-Type": "application/json"},
        )
        response = connection.getresponse()
        if response.getheader("Content-Length") is None:
            # Killed between two headers: without it, the end looks like an empty body.
            raise http.client.IncompleteRead(b"")
        return response.status, response.read()
    finally:
        connection.close()
