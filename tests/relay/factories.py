"""Events in an outbox, and relays in this process."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from django.db import connections, transaction

from django_strangler import conf
from django_strangler.brokers import memory
from django_strangler.databases import own_connection
from django_strangler.events import Event
from django_strangler.models import OutboxEvent
from django_strangler.outbox.publishing import publish_event, publish_events
from django_strangler.outbox.relay import Relay
from tests.waiting import wait_for

_numbers = itertools.count(1)


def publish(
    alias: str,
    *keys: str,
    type: str = "payment.completed",
    payload: Any = None,
    delay: float | None = None,
) -> list[int]:
    """Publish one event per key, committed; returns their rows."""
    with transaction.atomic(using=alias):
        if delay is None:
            events = [Event(type=type, payload=payload or {}, key=key) for key in keys]
            given = publish_events(events, using=alias)
        else:
            given = [
                publish_event(type, payload or {}, key=key, delay=delay, using=alias)
                for key in keys
            ]
    ids = [event.id for event in given]
    rows = OutboxEvent.objects.using(alias).filter(event_id__in=ids)
    return list(rows.order_by("id").values_list("id", flat=True))


def make_relay(alias: str, far: memory.MemoryExchange, **options: Any) -> Relay:
    """A relay into this exchange; settings and arguments alike by keyword."""
    given = {
        name: options.pop(name)
        for name in ("steady", "stop", "monotonic", "pace", "limits")
        if name in options
    }
    url = next(url for url, each in memory._exchanges.items() if each is far)
    names = {field.name for field in fields(conf.RelaySettings)}
    inner = {name: options.pop(name) for name in names & set(options)}
    options = {"unroutable_grace": 0.0, **options}  # A test that wants one, says so.
    settings = conf.Settings(
        broker_url=(url,), relay=conf.RelaySettings(**inner), **options
    )
    return Relay(alias, settings=settings, **given)


def new_exchange() -> memory.MemoryExchange:
    """One of the test's own."""
    return memory.exchange(f"memory://test-{next(_numbers)}")


def events(alias: str) -> dict[int, OutboxEvent]:
    """All rows, by id."""
    return {row.pk: row for row in OutboxEvent.objects.using(alias).order_by("id")}


def pending(alias: str) -> int:
    """How many are left."""
    return OutboxEvent.objects.using(alias).pending().count()


def rows_sent(far: memory.MemoryExchange) -> list[int]:
    """What arrived, in order, by row."""
    return [event.row for event in far.sent]


def first_copies(rows: list[int]) -> list[int]:
    """Without the repetitions."""
    return list(dict.fromkeys(rows))


@contextmanager
def running(alias: str, far: memory.MemoryExchange, **options) -> Iterator[Relay]:
    """A relay in a thread, on an impatient connection of its own."""
    stop = threading.Event()
    relays: list[Relay] = []
    patience = options.pop("read_timeout", 30.0)

    def run() -> None:
        with own_connection(connections[alias], read_timeout=patience):
            relays.append(make_relay(alias, far, stop=stop, **options))
            relays[0].run()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_for(lambda: relays and relays[0].leases.lanes)
        yield relays[0]
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()
