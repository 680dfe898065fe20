"""As many hostile messages as good ones, of fifty kinds, while consumers are killed."""

from __future__ import annotations

import io
import os
import random
import re
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pika
import pytest
from django.core.management import call_command
from django.test import override_settings
from reporting.models import Activity

from django_strangler.brokers.base import WorkQueue
from django_strangler.brokers.rabbitmq import declare
from tests.waiting import wait_for

from .hostile.kinds import KINDS, Around, Message, raw_headers
from .processes import consumer

MESSAGES = int(os.environ.get("HOSTILE_MESSAGES", "300"))  # Of either.
KILLS = 3 if MESSAGES >= 1000 else 1  # A process needs seconds to start.
MEMORY, LOG = 300, 5  # MB, at most.
PATIENCE = 150 + MESSAGES / 20
OPTIONS = ("--retry-delays", "0.05", "0.1", "--subscribers", "counts", "fails")
SETTINGS = "tests.consumer.hostile.settings"
# Events before: more than consumers have in hand, or a slow machine keeps waiting. Two
# processes know no order between each other: while one stands still, the other goes on
# to what came later.
LONG_AGO = max(150, MESSAGES // 4)


@pytest.fixture
def prepared(broker):
    """The queue, with nobody consuming from it yet; also bound for a type too many."""
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    queue = WorkQueue(
        name=broker.queue,
        patterns=("payment.*", "payout.*", "order.*"),
        retry_delays=(0.05, 0.1),
    )
    declare.prepare(connection, queue, broker.exchange)
    connection.close()
    return broker


def memory(pid: int) -> float:
    """The most MB that it ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1000


@pytest.mark.slow
def test_each_good_event_is_handled_once_beside_as_many_hostile_messages(
    postgresql_db, prepared, vhost
):
    """HOSTILE_MESSAGES sets how many of either; 10,000 is the full measure."""
    alias, broker = postgresql_db, prepared
    victim = vhost.own("victim")
    broker.channel.queue_declare(victim, durable=True)
    random.seed(18)
    hostile = [
        name for _, name in zip(range(MESSAGES), _endlessly(KINDS), strict=False)
    ]
    order = hostile + [""] * MESSAGES
    random.shuffle(order)
    sent: Counter[str] = Counter()
    dead: dict[str, bool | None] = {}
    good: list[str] = []
    broker.unconfirmed = True
    with raw_headers():
        for kind in order:
            if not kind:
                headers = {"strangler-key": f"payments.payment:{len(good) % 500}"}
                message = Message(b'{"good": %d}' % len(good), headers=headers)
                message.properties["message_id"] = str(uuid4())
                good.append(message.properties["message_id"])
            elif kind == "an id that was handled" and len(good) <= LONG_AGO:
                continue
            else:
                seen = good[-LONG_AGO] if len(good) > LONG_AGO else ""
                message = KINDS[kind](Around(victim, broker.queue, seen))
                dead[kind] = message.dead
            message.publish(broker.channel, broker.exchange, kind)
            sent[kind] += 1
    effects = Activity.objects.using(alias)
    most, written = 0.0, 0

    with ExitStack() as stack:

        def start():
            each = consumer(alias, broker, *OPTIONS, settings=SETTINGS)
            return stack.enter_context(each)

        def measure(process):
            nonlocal most, written
            most = max(most, memory(process.pid))
            written += os.fstat(process.output.fileno()).st_size

        process = start()
        for kill in range(KILLS):
            successor = start()
            goal = MESSAGES * (kill + 1) // (KILLS + 1)
            wait_for(lambda goal=goal: effects.count() >= goal, timeout=PATIENCE)
            assert process.poll() is None
            measure(process)
            process.kill()
            process = successor
        wait_for(lambda: effects.count() >= MESSAGES, timeout=PATIENCE)
        wait_for(lambda: not broker.left(), timeout=PATIENCE)
        measure(process)
        assert process.poll() is None

    print(f"{len(sent) - 1} kinds, {most:.0f} MB, {written / 1e6:.2f} MB of log")
    # Each good one once, and nothing that only looks like one.
    done = Counter(
        type.split("-")[0] for type in effects.values_list("type", flat=True)
    )
    assert done == Counter(str(number) for number in range(MESSAGES))
    # Nothing where it does not belong.
    assert broker.channel.queue_declare(victim, passive=True).method.message_count == 0
    letters = Counter(_listed(broker))
    assert letters.pop("", 0) == 0
    for kind, is_dead in dead.items():
        if is_dead is not None:
            assert letters[kind] >= sent[kind] * is_dead, kind
            assert is_dead or not letters[kind], kind
    # A copy is made again where its original was not acknowledged before a kill.
    assert letters.total() <= sum(sent[kind] for kind in dead) + KILLS * 50
    assert most <= MEMORY
    assert written <= LOG * 1_000_000


def _endlessly(names):
    while True:
        yield from names


def _listed(broker):
    """The kind of each dead letter, after the command has looked at all of them."""
    out, before = io.StringIO(), broker.depth(".dead")
    settings = {"BROKER_URL": broker.url, "EXCHANGE": broker.exchange}
    with override_settings(STRANGLER=settings):
        call_command("dead_letters", "list", "--queue", broker.queue, stdout=out)
    assert all(line.isprintable() for line in out.getvalue().split("\n"))
    # It left all of them.
    wait_for(lambda: broker.depth(".dead") == before, timeout=PATIENCE)
    for _ in range(before):
        properties, _ = broker.get()
        yield properties.headers.get("kind", "")
