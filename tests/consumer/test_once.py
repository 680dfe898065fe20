"""Effects happen once, however often a message comes and whatever is killed."""

from __future__ import annotations

import os
import random
import signal
from datetime import date
from uuid import uuid4

import pika
import pytest
from reporting.models import Activity

from django_strangler.brokers.base import WorkQueue
from django_strangler.brokers.rabbitmq import topology
from tests.waiting import wait_for

from .processes import consumer, said

MESSAGES = int(os.environ.get("CONSUMED_MESSAGES", "2000"))
KILLS = 5


@pytest.fixture
def prepared(broker):
    """The queue, with nobody consuming from it yet."""
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    queue = WorkQueue(
        name=broker.queue, patterns=("shaky.*", "payment.*"), retry_delays=(0.2, 0.5)
    )
    topology.prepare(connection, queue, broker.exchange)
    connection.close()
    return broker


DELAYS = ("--retry-delays", "0.2", "0.5")


def test_each_effect_happens_once_while_the_consumer_is_killed_five_times(
    postgresql_db, prepared
):
    """
    Messages come 1 to 5 times in random order, and 10 % of the first tries fail.

    CONSUMED_MESSAGES sets their number; 20,000 is the full measure.
    """
    alias, broker = postgresql_db, prepared
    Activity.objects.using(alias).create(day=date(2026, 1, 1), type="total", count=0)
    random.seed(8)
    copies = [
        (number, id)
        for number, id in enumerate(str(uuid4()) for _ in range(MESSAGES))
        for _ in range(random.randint(1, 5))
    ]
    random.shuffle(copies)
    broker.unconfirmed = True
    for number, id in copies:
        broker.publish(
            {"number": number}, type="shaky.thing", id=id, key=f"key-{number % 200}"
        )
    effects = Activity.objects.using(alias).exclude(type="total")

    for kill in range(KILLS):
        goal = MESSAGES * (kill + 1) // (KILLS + 1)
        with consumer(alias, broker, *DELAYS) as process:
            wait_for(lambda goal=goal: effects.count() >= goal, timeout=600)
            assert process.poll() is None
            process.kill()
    with consumer(alias, broker, *DELAYS) as process:
        wait_for(lambda: effects.count() == MESSAGES and not broker.left(), timeout=600)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, said(process)

    assert effects.count() == MESSAGES
    assert Activity.objects.using(alias).get(type="total").count == MESSAGES
    assert broker.depth(".dead") == 0


def test_sigterm_ends_the_process_with_0_and_says_what_was_done(
    postgresql_db, prepared
):
    prepared.publish(type="payment.completed")
    with consumer(postgresql_db, prepared, *DELAYS) as process:
        # The monolith's own subscriber counts it.
        wait_for(lambda: Activity.objects.using(postgresql_db).exists(), 30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, said(process)
        output = said(process)

    assert "Consuming 'receipts'" in output
    assert "handled 1 deliveries" in output
