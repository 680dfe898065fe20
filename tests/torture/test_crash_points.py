"""A relay or a consumer that dies at any step of its loop loses nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pika
import pytest
from django.db import connections, transaction

from django_strangler import conf, publish_events
from django_strangler.clock import DatabaseNow
from django_strangler.events import Event
from django_strangler.outbox.models import OutboxEvent, RelayProcess
from django_strangler.outbox.relay import Relay
from tests.services.databases import database_url
from tests.torture import checker, witness
from tests.torture.crash_points import CONSUMER, CRASHED, RELAY
from tests.torture.crew import QUEUE, RETRY_DELAYS
from tests.torture.history import Fault, History
from tests.torture.models import Effect, create_tables
from tests.waiting import wait_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
WINDOW, KEYS, EACH = 12, 6, 8


@pytest.fixture
def alias(postgresql_db: str) -> str:
    create_tables(connections[postgresql_db], keys=0)
    return postgresql_db


@pytest.fixture
def url(private_vhost) -> str:
    witness.declare(private_vhost.url)
    return private_vhost.url


@pytest.fixture
def start(alias, url, tmp_path) -> Iterator:
    """A management command as a process, that may die at a crash point."""
    started: list[subprocess.Popen] = []
    log = (tmp_path / "log").open("ab")

    def start(*arguments: str, crash: str = "") -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", "django", *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                "DATABASE_URL": database_url(alias),
                "BROKER_URL": url,
                "DJANGO_SETTINGS_MODULE": "tests.torture.settings",
                "PYTHONPATH": f"{ROOT}:{ROOT / 'testproject'}",
                "TORTURE_CRASH": crash,
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        started.append(process)
        return process

    yield start

    for process in started:
        process.kill()
        process.wait()
    log.close()
    print((tmp_path / "log").read_text())  # Shown if the test failed.


@pytest.mark.parametrize("point", RELAY)
def test_a_relay_may_die(point, alias, url, start):
    with transaction.atomic(using=alias):
        publish_events(
            [
                Event(
                    type="torture.counted",
                    payload={"name": f"key-{key}", "number": number},
                    key=f"key-{key}",
                )
                for number in range(1, EACH + 1)
                for key in range(KEYS)
            ],
            using=alias,
        )

    options = ("--window", str(WINDOW), "--batch-size", "4")
    dying = start("drain_outbox", "--once", *options, crash=f"relay-{point}")
    assert dying.wait(120) == CRASHED
    _drain(alias, url)

    copies = list(witness.read(url, witness.WORK))
    verdict = checker.check(
        History(
            counted={f"key-{key}": EACH for key in range(KEYS)},
            faults=[Fault(name=point, began=0, ended=0, proof="86", hit=(WINDOW,))],
            stream=copies,
            work=copies,
            # Nobody consumes here.
            effects={each.event: 1 for each in copies if each.number % 3 == 0},
        )
    )
    assert verdict.word == "GOOD", str(verdict)


def _drain(alias: str, url: str) -> None:
    """Until all is confirmed, once the dead relay's lease has run out."""
    RelayProcess.objects.using(alias).update(expires_at=DatabaseNow(-1))
    settings = replace(conf.current(), broker_url=(url,))
    pending = OutboxEvent.objects.using(alias).pending()

    def is_drained() -> bool:
        Relay(alias, settings=settings, steady=False).drain()
        return not pending.exists()

    wait_for(is_drained)


@pytest.mark.parametrize("point", CONSUMER)
def test_a_consumer_may_die(point, alias, url, start):
    ids = [uuid4() for _ in range(12)]
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()  # Else the end of the channel may lose some.
    for number, id in enumerate(ids):
        channel.basic_publish(
            "",
            QUEUE,
            json.dumps({"name": "key", "number": 3 * number + 3}).encode(),
            pika.BasicProperties(message_id=str(id), type="torture.handled"),
        )
    connection.close()
    effects = Effect.objects.using(alias)

    command = ("consume_events", "--queue", QUEUE, "--no-declare", "--retry-delays")
    command += RETRY_DELAYS
    dying = start(*command, crash=f"consumer-{point}")
    assert dying.wait(120) == CRASHED
    start(*command)

    wait_for(lambda: set(effects.values_list("event", flat=True)) == set(ids))
    wait_for(lambda: witness.depth(url, QUEUE) == 0)
    assert effects.count() == len(ids)
