"""A monolith over HTTP, a relay, RabbitMQ and the Node.js service."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pika
import psycopg
from demo.traffic import post

from tests.services.databases import database_url
from tests.services.leftovers import ROOT
from tests.services.ports import free_port
from tests.waiting import wait_for

from .processes import process, python

PROCESSES = ("monolith", "relay", "notifications")


@dataclass
class System:
    """All of it, as somebody outside sees it."""

    address: str
    alias: str  # The monolith's database.
    service_url: str  # The service's database.
    folder: Path  # What each process wrote, and its spans.

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        return post(self.address + path, **body)

    def mails(self) -> list[tuple[int, str]]:
        """What the service wrote: users and subjects."""
        with psycopg.connect(self.service_url) as connection:
            rows = connection.execute("SELECT user_id, subject FROM mails").fetchall()
        return [(int(user), subject) for user, subject in rows]

    def spans(self) -> list[dict[str, Any]]:
        """What all processes have done so far, each span with the process's name."""
        return [
            {"process": name, **json.loads(line)}
            for name in PROCESSES
            for line in _read(self.folder / f"{name}.spans").splitlines(keepends=True)
            if line.endswith("\n")  # The last one may be half written.
        ]

    def output(self, name: str) -> str:
        return _read(self.folder / f"{name}.output")


@contextlib.contextmanager
def running(
    folder: Path, *, alias: str, service_url: str, broker_url: str, service: Path
) -> Iterator[System]:
    """Everything up and answering, until the block ends."""
    port = free_port()
    monolith = {
        "DATABASE_URL": database_url(alias),
        "BROKER_URL": broker_url,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'testproject'}",
        "EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend",
        "DEBUG": "0",
    }
    notifications = {"DATABASE_URL": service_url, "BROKER_URL": broker_url}
    traced = python("-m", "tests.end_to_end.traced")
    node = ["node", "--require", "./src/tracing.js", "src/main.js"]
    system = System(f"http://127.0.0.1:{port}", alias, service_url, folder)
    with contextlib.ExitStack() as stack:

        def start(name: str, *command: str, **environment: Any) -> None:
            spans = str(folder / f"{name}.spans")
            output = folder / f"{name}.output"
            environment["TRACES_FILE"] = spans
            stack.enter_context(process(command, output, **environment))

        start("monolith", *traced, "serve", str(port), **monolith)
        start("relay", *traced, "drain_outbox", **monolith)
        start("notifications", *node, folder=service, **notifications)
        wait_for(lambda: _answers(system.address), 120, message="the monolith answers")
        wait_for(lambda: _consumes(broker_url), 120, message="the service consumes")
        yield system


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/payments/", timeout=20).close()
    except (urllib.error.URLError, OSError):
        return False
    return True


def _consumes(url: str) -> bool:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        queue = connection.channel().queue_declare("notifications", passive=True)
    except pika.exceptions.ChannelClosedByBroker:
        return False
    else:
        return bool(queue.method.consumer_count)
    finally:
        connection.close()
