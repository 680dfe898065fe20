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
import pytest

from tests.services.databases import database_url
from tests.services.leftovers import ROOT
from tests.services.ports import free_port
from tests.waiting import wait_for

from .processes import process, python


@dataclass
class System:
    """All of it, as somebody outside sees it."""

    address: str
    alias: str  # The monolith's database.
    service_url: str  # The service's database.
    traces: Path

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        request = urllib.request.Request(
            self.address + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return dict(json.load(answer))

    def mails(self) -> list[tuple[int, str]]:
        """What the service wrote: users and subjects."""
        with psycopg.connect(self.service_url) as connection:
            rows = connection.execute("SELECT user_id, subject FROM mails").fetchall()
        return [(int(user), subject) for user, subject in rows]

    def spans(self) -> list[dict[str, Any]]:
        with contextlib.suppress(FileNotFoundError):
            return [json.loads(line) for line in self.traces.read_text().splitlines()]
        return []


@pytest.fixture
def system(
    make_db, vhost, notifications_service, tmp_path, request
) -> Iterator[System]:
    if vhost.prefix:
        pytest.skip("the service's queue needs a vhost of its own")
    alias = make_db("postgresql")
    service_url = database_url(make_db("postgresql"))
    traces, port = tmp_path / "traces", free_port()
    monolith = {
        "DATABASE_URL": database_url(alias),
        "BROKER_URL": vhost.url,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'testproject'}",
        "EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend",
        "TRACES_FILE": str(traces),
        "DEBUG": "0",
    }
    service = {
        "DATABASE_URL": service_url,
        "BROKER_URL": vhost.url,
        "TRACES_FILE": str(traces),
    }
    traced = python("-m", "tests.end_to_end.traced")
    node = ["node", "--require", "./src/tracing.js", "src/main.js"]
    with contextlib.ExitStack() as stack:
        start = stack.enter_context
        start(process([*traced, "serve", str(port)], tmp_path / "web", **monolith))
        start(process([*traced, "drain_outbox"], tmp_path / "relay", **monolith))
        start(process(node, tmp_path / "node", folder=notifications_service, **service))
        system = System(f"http://127.0.0.1:{port}", alias, service_url, traces)
        try:
            wait_for(lambda: _answers(system.address), 30)
            wait_for(lambda: _consumes(vhost.url), 30)
            yield system
        finally:
            for name in ("web", "relay", "node"):
                print(f"--- {name}\n{(tmp_path / name).read_text()[-3000:]}")


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/payments/", timeout=5).close()
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
