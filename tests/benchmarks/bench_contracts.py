"""
What contracts cost: publishing an instance, and checking many types.

    python -m tests.benchmarks.bench_contracts

Bars: publish_event(instance) at most 1.15 times publish_event(type, dict), on
PostgreSQL; a check of 200 types of ten fields, with five snapshots and three readers
each, at most 2 s.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

SINGLE = 200  # Events in one transaction.
ROUNDS = 25
TYPES, SNAPSHOTS, READERS = 200, 5, 3


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    os.environ["DEBUG"] = "0"  # As in production: nothing is validated.
    import django

    django.setup()
    from tests.benchmarks.servers import servers

    with servers() as (_, databases), databases.fresh("postgresql") as alias:
        slow = publishing(alias)
    return max(slow, checking())


def publishing(alias: str) -> int:
    from django.db import transaction
    from payments.contracts import PaymentCompleted

    from django_strangler import extending, publish_event

    assert not extending.validators
    amount = Decimal("12.50")

    def typed(number: int) -> None:
        publish_event(
            PaymentCompleted(paymentId=42, userId=7, amount=amount, currency="EUR"),
            key=f"payments.payment:{number}",
            using=alias,
        )

    def untyped(number: int) -> None:
        publish_event(
            "payment.completed",
            {"paymentId": 42, "userId": 7, "amount": amount, "currency": "EUR"},
            key=f"payments.payment:{number}",
            using=alias,
        )

    def run(publish: Callable[[int], None]) -> float:
        start = time.perf_counter()
        with transaction.atomic(using=alias):
            for number in range(SINGLE):
                publish(number)
        return (time.perf_counter() - start) / SINGLE

    runs = {"publish_event(type, dict)": untyped, "publish_event(instance)": typed}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round in range(ROUNDS + 1):  # The first one warms up.
        for name, publish in runs.items():
            seconds = run(publish)
            if round:
                times[name].append(seconds)
    dict_form, instance = (statistics.median(each) for each in times.values())
    for name, each in times.items():
        print(f"{name:40} {statistics.median(each) * 1e6:8.1f} µs")
    ratio = instance / dict_form
    print(
        f"instance / dict: {ratio:.3f} (bar 1.15) {'ok' if ratio <= 1.15 else 'SLOW'}"
    )
    return int(ratio > 1.15)


def checking() -> int:
    from django_strangler.contracts.declare import event, registry
    from django_strangler.contracts.judging import Judge
    from django_strangler.contracts.snapshots import Store
    from django_strangler.contracts.writing import unwritten, write

    registry.discover()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        for minor in range(SNAPSHOTS):
            for number in range(TYPES):
                type = f"bench.type-{number}"
                registry.events.pop(type, None)
                event(type)(_value(10 + minor))
            write(unwritten(store))
        for number in range(TYPES * READERS):
            reader, of = divmod(number, TYPES)
            path = store.root / f"needs/reader-{reader}/bench.type-{of}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            names = {"field0": {"type": "string"}, "field1": {"type": "string"}}
            path.write_text(json.dumps({"type": "object", "properties": names}))
        start = time.perf_counter()
        verdicts = Judge(store, date(2030, 1, 7)).verdicts()
        missing = unwritten(store)
        seconds = time.perf_counter() - start
    assert not [each for each in verdicts if each.type.startswith("bench")]
    assert not [path for path in missing if "bench" in str(path)]
    verdict = "ok" if seconds <= 2 else "TOO SLOW"
    print(f"check of {TYPES} types: {seconds:.2f} s (bar 2 s) {verdict}")
    return int(seconds > 2)


def _value(fields: int) -> type:
    made = [
        (f"field{number}", str, dataclasses.field(default=""))
        for number in range(fields)
    ]
    return dataclasses.make_dataclass("Bench", made, frozen=True, kw_only=True)


if __name__ == "__main__":
    sys.exit(main())
