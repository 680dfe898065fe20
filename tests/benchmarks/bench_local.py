"""
What the inbox costs: handle() against a hand-written loop of the same statements.

    python -m tests.benchmarks.bench_local

Bar: per event and subscriber on PostgreSQL at most 1.5 times the loop's time.
"""

from __future__ import annotations

import os
import statistics
import time
from datetime import date
from uuid import uuid4

EVENTS = 1000
ROUNDS = 7
BAR = 1.5


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    from tests.benchmarks.servers import servers

    with servers() as (_, databases), databases.fresh("postgresql") as alias:
        return measure(alias)


def measure(alias: str) -> int:
    from django.db import connections, router, transaction

    from django_strangler.events import Event
    from django_strangler.inbox.handling import handle
    from django_strangler.inbox.subscribers import Subscriber

    effect = "INSERT INTO reporting_activity (day, type, count) VALUES (%s, %s, 1)"
    connection = connections[alias]
    day = date(2026, 1, 1)

    def write_effect(event: Event) -> None:
        with connection.cursor() as cursor:
            cursor.execute(effect, [day, str(event.id)])

    def by_hand(events: list[Event]) -> None:
        for event in events:
            with transaction.atomic(using=alias):
                with connection.cursor() as cursor:
                    cursor.execute(
                        "INSERT INTO strangler_inboxentry "
                        "(event_id, subscriber, event_type, handled_at) "
                        "VALUES (%s, %s, %s, clock_timestamp())",
                        [event.id, "hand", event.type],
                    )
                write_effect(event)

    subscriber = Subscriber(
        name="bench", patterns=("#",), flag=None, handler=write_effect
    )

    def by_inbox(events: list[Event]) -> None:
        for event in events:
            handle(subscriber, event)

    times: dict[str, list[float]] = {"hand-written loop": [], "handle()": []}
    router.db_for_write = lambda model, **hints: alias
    for _ in range(ROUNDS):
        for name, run in (("hand-written loop", by_hand), ("handle()", by_inbox)):
            events = [
                Event(type="bench.thing", payload={}, id=uuid4()) for _ in range(EVENTS)
            ]
            started = time.perf_counter()
            run(events)
            times[name].append((time.perf_counter() - started) / EVENTS)
    del router.db_for_write
    medians = {name: statistics.median(each) for name, each in times.items()}
    ratio = medians["handle()"] / medians["hand-written loop"]
    for name, median in medians.items():
        print(f"{name:<20} {median * 1e6:8.0f} µs per event")
    print(f"{'ratio':<20} {ratio:8.2f}  (bar: at most {BAR})")
    return 0 if ratio <= BAR else 1


if __name__ == "__main__":
    raise SystemExit(main())
