"""
What an idempotency key costs: a view that writes a payment's event, with and without.

    python -m tests.benchmarks.bench_idempotency

Compared are a view in ``transaction.atomic``, as whoever takes money has it anyway, and
the same view with a key: neither reads a body, and both are asked in turn, one client,
the database on this machine and without fsync. So it is two statements and what Python
does for them; BEGIN and COMMIT are on both sides.

Bars: 2 statements more than the bare view, and at most 0.4 ms at the median, on
PostgreSQL as Django sets it up. Beside it a replay, PostgreSQL whose statements are
prepared (``server_side_binding`` and ``prepare_threshold`` in OPTIONS), MariaDB and
SQLite, and how each database finds the row that the second statement changes.
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
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "postgresql": ("postgresql", {}),
    "prepared": ("postgresql", {"server_side_binding": True, "prepare_threshold": 5}),
    "mariadb": ("mariadb", {}),
    "sqlite": ("sqlite", {}),
}
EXPLAIN = {
    "postgresql": "EXPLAIN (COSTS OFF)",
    "mysql": "EXPLAIN",
    "sqlite": "EXPLAIN QUERY PLAN",
}


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    from django.conf import settings

    settings.DEBUG = False  # Or each query would be remembered.
    from tests.benchmarks.servers import servers

    failed = False
    with servers() as (_, databases):
        for kind in sys.argv[1:] or KINDS:
            source, options = KINDS[kind]
            with databases.fresh(source, **options) as alias:
                failed |= measure(kind, alias)
    return failed


def measure(kind: str, alias: str) -> bool:
    from django.db import connections, router, transaction
    from django.http import JsonResponse

    from django_strangler import publish_event
    from django_strangler.http_idempotency import idempotent
    from tests.http_idempotency.calling import post

    router.db_for_write = lambda model, **hints: alias  # type: ignore[method-assign]

    def pay(request: Any) -> Any:
        event = publish_event("payment.completed", {"amount": 1}, key="payment:1")
        return JsonResponse({"event": event.id}, status=201)

    def nothing(request: Any) -> None:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.execute("SELECT 1")

    bare = transaction.atomic(using=alias)(pay)
    views: dict[str, Callable[[Any], Any]] = {"bare": bare, "a key": idempotent(pay)}
    number = iter(range(10_000_000))
    times: dict[str, list[float]] = {"bare": [], "a key": [], "a replay": []}
    empty = []
    for _ in range(ROUNDS):
        # In turn, so that whatever else the machine does meets all of them.
        for name, view in views.items():
            times[name].append(timed(view, post(key=f"key-{next(number)}")))
        last = f"key-{next(number) - 1}"
        times["a replay"].append(timed(views["a key"], post(key=last)))
        empty.append(timed(nothing, None))
    seen: dict[str, list[tuple[str, Any]]] = {name: [] for name in views}
    for name, view in views.items():

        def note(execute: Any, sql: str, params: Any, *more: Any) -> Any:
            seen[name].append((sql, params))  # noqa: B023  Called in this turn only.
            return execute(sql, params, *more)

        with connections[alias].execute_wrapper(note):
            view(post(key=f"key-{next(number)}"))
    more = len(seen["a key"]) - len(seen["bare"])
    medians = {name: statistics.median(each) for name, each in times.items()}
    cost = medians["a key"] - medians["bare"]
    print(f"{kind:12}" + "".join(f"{n:>10} {m:6.3f} ms" for n, m in medians.items()))
    print(
        f"{'':12} the key costs {cost:.3f} ms and {more} statements; two that do "
        f"nothing cost {statistics.median(empty):.3f} ms"
    )
    for line in plan(connections[alias], *seen["a key"][-1]):
        print(f"{'':12} {line}")
    return kind == "postgresql" and (cost > BAR or more > 2)


def timed(view: Callable[[Any], Any], request: Any) -> float:
    began = time.perf_counter()
    view(request)
    return (time.perf_counter() - began) * 1000


def plan(connection: Any, sql: str, params: Any) -> list[str]:
    """How the database finds the row, and whether PostgreSQL wrote to its indexes."""
    with connection.cursor() as cursor:
        cursor.execute(f"{EXPLAIN[connection.vendor]} {sql}", params)
        lines = [" ".join(map(str, row)) for row in cursor.fetchall()]
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_stat_force_next_flush()")
            cursor.execute(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables "
                "WHERE relname = 'strangler_http_idempotency_idempotentrequest'"
            )
            changed, hot = cursor.fetchone()
            lines.append(f"{hot} of {changed} without a write to an index")
    return lines


if __name__ == "__main__":
    sys.exit(main())
