"""
What an idempotency key costs: a view that writes a payment's event, with and without.

    python -m tests.benchmarks.bench_idempotency

Bars: 2 statements more than the bare view, and at most 0.4 ms at the median, on
PostgreSQL. A replay is shown beside them.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

ROUNDS = 1500
BAR = 0.4


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    from django.conf import settings

    settings.DEBUG = False  # Or each query would be remembered.
    from tests.benchmarks.servers import servers

    failed = False
    with servers() as (_, databases):
        for source in ("postgresql", "mariadb", "sqlite"):
            with databases.fresh(source) as alias:
                failed |= measure(source, alias)
    return failed


def measure(source: str, alias: str) -> bool:
    from django.db import connections, router, transaction
    from django.http import JsonResponse
    from django.test.utils import CaptureQueriesContext

    from django_strangler import publish_event
    from django_strangler.http_idempotency import idempotent
    from tests.http_idempotency.calling import post

    router.db_for_write = lambda model, **hints: alias  # type: ignore[method-assign]

    def pay(request: Any) -> Any:
        event = publish_event("payment.completed", {"amount": 1}, key="payment:1")
        return JsonResponse({"event": event.id}, status=201)

    bare = transaction.atomic(using=alias)(pay)
    views: dict[str, Callable[[Any], Any]] = {"bare": bare, "a key": idempotent(pay)}
    number = iter(range(10_000_000))
    times: dict[str, list[float]] = {"bare": [], "a key": [], "a replay": []}
    for _ in range(ROUNDS):
        # In turn, so that whatever else the machine does meets all of them.
        for name, view in views.items():
            times[name].append(timed(view, post(key=f"key-{next(number)}")))
        last = f"key-{next(number) - 1}"
        times["a replay"].append(timed(views["a key"], post(key=last)))
    counts = {}
    for name, view in views.items():
        with CaptureQueriesContext(connections[alias]) as queries:
            view(post(key=f"key-{next(number)}"))
        counts[name] = len(queries)
    more = counts["a key"] - counts["bare"]
    medians = {name: statistics.median(each) for name, each in times.items()}
    cost = medians["a key"] - medians["bare"]
    print(f"{source:12}" + "".join(f"{n:>10} {m:6.3f} ms" for n, m in medians.items()))
    print(f"{'':12} the key costs {cost:.3f} ms and {more} statements")
    return source == "postgresql" and (cost > BAR or more > 2)


def timed(view: Callable[[Any], Any], request: Any) -> float:
    began = time.perf_counter()
    view(request)
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    sys.exit(main())
