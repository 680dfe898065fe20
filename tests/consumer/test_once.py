"""Effects happen once, however often a message comes and whatever is killed."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
from contextlib import ExitStack
from datetime import date
from uuid import uuid4

import pika
import pytest
from django.db import connections, transaction
from reporting.models import Activity

from django_strangler.brokers.base import WorkQueue
from django_strangler.brokers.rabbitmq import declare
from django_strangler.inbox.models import ConsumerProcess
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
    declare.prepare(connection, queue, broker.exchange)
    connection.close()
    return broker


DELAYS = ("--retry-delays", "0.2", "0.5")


@pytest.mark.slow
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

    with ExitStack() as stack:
        process = stack.enter_context(consumer(alias, broker, *DELAYS))
        for kill in range(KILLS):
            # To start takes as long as to handle a thousand.
            successor = stack.enter_context(consumer(alias, broker, *DELAYS))
            goal = MESSAGES * (kill + 1) // (KILLS + 1)
            wait_for(lambda goal=goal: effects.count() >= goal, timeout=600)
            assert process.poll() is None
            process.kill()
            process = successor
        wait_for(lambda: effects.count() == MESSAGES and not broker.left(), timeout=600)
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0, said(process)

    assert effects.count() == MESSAGES
    assert Activity.objects.using(alias).get(type="total").count == MESSAGES
    assert broker.depth(".dead") == 0


def test_sigterm_ends_the_process_with_0_and_says_what_was_done(
    postgresql_db, prepared
):
    prepared.publish(type="payment.completed")
    with consumer(postgresql_db, prepared, *DELAYS) as process:
        # The monolith's own subscriber counts it.
        wait_for(lambda: Activity.objects.using(postgresql_db).exists())
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0, said(process)
        output = said(process)

    assert "Consuming 'receipts'" in output
    assert "handled 1 delivery" in output


def test_sigterm_lets_a_slow_subscriber_finish(postgresql_db, prepared):
    rows = Activity.objects.using(postgresql_db)
    rows.create(day=date(2026, 1, 1), type="total", count=0)
    prepared.publish({"number": 1}, type="shaky.thing")
    with consumer(postgresql_db, prepared, *DELAYS) as process:
        with transaction.atomic(using=postgresql_db):
            rows.select_for_update().get(type="total")  # The subscriber waits for it.
            wait_for(lambda: _waits_for_a_lock(postgresql_db))
            process.send_signal(signal.SIGTERM)
            # A relay that takes as long is ended there and then.
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(2.5)
        assert process.wait(90) == 0, said(process)

    assert rows.get(type="total").count == 1
    assert prepared.depth() == 0


def test_of_several_processes_one_is_active_and_the_next_goes_on_in_order(
    postgresql_db, broker
):
    effects = Activity.objects.using(postgresql_db).order_by("pk")
    options = (*DELAYS, "--single-active")
    with (
        consumer(postgresql_db, broker, *options) as one,
        consumer(postgresql_db, broker, *options) as two,
    ):
        ready = ConsumerProcess.objects.using(postgresql_db)
        wait_for(lambda: ready.count() == 2)
        broker.unconfirmed = True
        ids = [
            # Not the numbers whose first try fails.
            broker.publish({"number": 10 * n + 1}, type="shaky.thing", key="payment-1")
            for n in range(1000)
        ]
        # The first one may have handed over once, before it took more than one at once.
        active = wait_for(
            lambda: next((each for each in (one, two) if handled(each) > 100), None)
        )
        active.kill()
        active.wait()
        other = two if active is one else one
        assert handled(other) <= 2
        assert effects.count() < len(ids)
        wait_for(lambda: "handled" in said(other) and effects.count() == len(ids), 60)

    assert list(effects.values_list("type", flat=True)) == ids


def _waits_for_a_lock(alias: str) -> bool:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def handled(process: subprocess.Popen[bytes]) -> int:
    """How many deliveries, by its own words."""
    counts = re.findall(r"handled ([\d,]+) deliveries", said(process))
    return int(counts[-1].replace(",", "")) if counts else 0
