"""Effects happen once, whatever dies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest
from django.db import transaction
from reporting.models import Activity

from django_strangler import publish_events
from django_strangler.events import Event
from django_strangler.models import OutboxEvent
from tests.services.databases import database_url
from tests.waiting import wait_for

EVENTS = int(os.environ.get("KILL_EVENTS", "3000"))
KILLS = 5
ROOT = Path(__file__).parents[2]


@contextmanager
def relay(alias: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "DATABASE_URL": database_url(alias),
        "DJANGO_SETTINGS_MODULE": "tests.inbox.shaky.settings",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'testproject'}",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "django", "drain_outbox"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_relay_killed_five_times_leaves_each_effect_once(postgresql_db):
    alias = postgresql_db
    Activity.objects.using(alias).create(day=date(2026, 1, 1), type="total", count=0)
    numbers = range(EVENTS)
    for start in numbers[::500]:
        with transaction.atomic(using=alias):
            publish_events(
                [
                    Event(
                        type="shaky.thing",
                        payload={"number": number},
                        key=f"key-{number % 200}",
                    )
                    for number in numbers[start : start + 500]
                ],
                using=alias,
            )
    events = OutboxEvent.objects.using(alias)

    killed = 0
    for kill in range(KILLS):
        goal = EVENTS * (kill + 1) // (KILLS + 1)
        with relay(alias) as process:
            wait_for(lambda goal=goal: events.confirmed().count() >= goal, timeout=240)
            assert process.poll() is None
            process.kill()
            killed += 1
    with relay(alias):
        wait_for(lambda: not events.pending().exists(), timeout=240)

    effects = Activity.objects.using(alias).exclude(type="total")
    assert killed == KILLS
    assert events.confirmed().count() == EVENTS
    assert effects.count() == EVENTS
    assert set(effects.values_list("count", flat=True)) == {1}
    assert Activity.objects.using(alias).get(type="total").count == EVENTS
