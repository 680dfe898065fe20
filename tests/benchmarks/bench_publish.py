"""
What publishing costs: against the ORM on a twin of the table, on PostgreSQL.

    python -m tests.benchmarks.bench_publish

Bars: publish_event at most 1.3 times objects.create() of a twin with the same columns
and indexes, and 1.6 times that of a table with only the primary key and the unique id;
with a recorded trace at most 1.5 times; publish_events of 1,000 at most 1.3 times
bulk_create().
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

SINGLE = 200  # Events in one transaction.
MANY = 1000
ROUNDS = 15
PAYLOAD = {"paymentId": 42, "userId": 7, "amount": "12.50", "currency": "EUR"}


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    from tests.benchmarks.servers import servers

    with servers() as (_, databases), databases.fresh("postgresql") as alias:
        return measure(alias)


def twin(name: str, *, indexes: bool = True, columns: bool = True) -> Any:
    """A model like OutboxEvent; only the ORM's own ways of saving lead to it."""
    from django.db import models
    from django.utils import timezone

    from django_strangler.models import OutboxEvent
    from django_strangler.outbox.models import INDEX

    fields = {
        field.name: field.clone()
        for field in OutboxEvent._meta.local_fields
        if columns or field.name in ("id", "event_id")
    }
    if columns:
        # What the ORM likes best: a value, which lets bulk_create use UNNEST.
        fields["published_at"] = models.DateTimeField(default=timezone.now)
    meta = type(
        "Meta",
        (),
        {
            "app_label": "strangler",
            "indexes": [models.Index(fields=INDEX, name=f"bench_{name.lower()}")]
            if indexes and columns
            else [],
        },
    )
    return type(name, (models.Model,), {**fields, "Meta": meta, "__module__": __name__})


def measure(alias: str) -> int:
    from django.db import connections, transaction
    from opentelemetry.sdk.trace import TracerProvider

    from django_strangler import publish_event, publish_events
    from django_strangler.events import Event
    from django_strangler.outbox.encoding import encode

    same, bare, ids = (
        twin("Same"),
        twin("Bare", indexes=False),
        twin("Ids", columns=False),
    )
    with connections[alias].schema_editor() as editor:
        for model in (same, bare, ids):
            editor.create_model(model)

    def values(number: int) -> dict[str, Any]:
        body = encode(PAYLOAD, limit=10_000)
        return {
            "type": "payment.completed",
            "key": f"payments.payment:{number}",
            "lane": 3,
            "body": body,
            "size": len(body),
            "headers": {},
        }

    def publish(number: int) -> None:
        key = f"payments.payment:{number}"
        publish_event("payment.completed", PAYLOAD, key=key, using=alias)

    def publish_many() -> None:
        publish_events(
            [
                Event(
                    type="payment.completed",
                    payload=PAYLOAD,
                    key=f"payments.payment:{number}",
                )
                for number in range(MANY)
            ],
            using=alias,
        )

    def create_many() -> None:
        same.objects.using(alias).bulk_create(
            same(**values(number)) for number in range(MANY)
        )

    tracer = TracerProvider().get_tracer("bench")

    def traced(number: int) -> None:
        with tracer.start_as_current_span("view"):
            publish(number)

    def one_by_one(write: Callable[[int], Any]) -> Callable[[], None]:
        def run() -> None:
            for number in range(SINGLE):
                write(number)

        return run

    runs: dict[str, tuple[Callable[[], None], int]] = {
        "publish_event": (one_by_one(publish), SINGLE),
        "publish_event, traced": (one_by_one(traced), SINGLE),
        "create(), same columns and indexes": (
            one_by_one(lambda n: same.objects.using(alias).create(**values(n))),
            SINGLE,
        ),
        "create(), same columns, pk and id only": (
            one_by_one(lambda n: bare.objects.using(alias).create(**values(n))),
            SINGLE,
        ),
        "create(), no other columns": (
            one_by_one(lambda n: ids.objects.using(alias).create()),
            SINGLE,
        ),
        "publish_events, 1,000": (publish_many, MANY),
        "bulk_create(), 1,000": (create_many, MANY),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round in range(ROUNDS + 1):  # The first one warms up.
        for name, (run, events) in runs.items():
            start = time.perf_counter()
            with transaction.atomic(using=alias):
                run()
            if round:
                times[name].append((time.perf_counter() - start) / events)
    medians = {name: statistics.median(each) for name, each in times.items()}
    return report(medians)


def report(medians: dict[str, float]) -> int:
    for name, seconds in medians.items():
        print(f"{name:40} {seconds * 1e6:8.1f} µs")
    failed = 0
    for name, other, bar in (
        ("publish_event", "create(), same columns and indexes", 1.3),
        ("publish_event", "create(), same columns, pk and id only", 1.6),
        ("publish_event", "create(), no other columns", 1.6),
        ("publish_event, traced", "create(), same columns and indexes", 1.5),
        ("publish_event, traced", "publish_event", 1.5),
        ("publish_events, 1,000", "bulk_create(), 1,000", 1.3),
    ):
        ratio = medians[name] / medians[other]
        failed += ratio > bar
        verdict = "ok" if ratio <= bar else "TOO SLOW"
        print(f"{name} / {other}: {ratio:.2f} (bar {bar}) {verdict}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
