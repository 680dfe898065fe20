"""Rows as a relay or a consumer leaves them."""

from __future__ import annotations

from typing import Any

from django.db import connections

from django_strangler.clock import DatabaseNow
from django_strangler.models import (
    ConsumerProcess,
    HeldType,
    Lane,
    OutboxEvent,
    RelayProcess,
)
from django_strangler.outbox.held_rows import digest_of

TABLE = "strangler_outboxevent"


def add(alias: str, *, published: float = 0.0, **values: Any) -> OutboxEvent:
    """One row; times are given as seconds ago: ``parked=5``."""
    for name in ("confirmed", "parked"):
        if name in values:
            values[f"{name}_at"] = DatabaseNow(-values.pop(name))
    for name in ("available", "retry"):
        if name in values:
            values[f"{name}_at"] = DatabaseNow(values.pop(name))
    given = {"type": "payment.completed", "body": "{}", **values}
    rows = OutboxEvent.objects.using(alias)
    return rows.create(published_at=DatabaseNow(-published), **given)


def add_relay(
    alias: str,
    *,
    left: float = 299.0,
    length: float = 300.0,
    lanes: int = 32,
    name: str = "web-1:17",
    steady: bool = True,
) -> RelayProcess:
    """A relay whose lease has so many seconds left."""
    relay = RelayProcess.objects.using(alias).create(
        name=name,
        steady=steady,
        length=length,
        started_at=DatabaseNow(-60),
        expires_at=DatabaseNow(left),
    )
    for number in range(32):
        rows = Lane.objects.using(alias)
        rows.get_or_create(number=number)
        if number < lanes:
            rows.filter(number=number).update(relay=relay.token)
    return relay


def add_held(alias: str, type: str = "payment.completed", **values: Any) -> HeldType:
    """A type that a full queue has refused for five minutes."""
    given = {
        "cause": "nacked",
        "reason": "A queue is full.",
        "tries": 7,
        "since": DatabaseNow(-300),
        "probe_at": DatabaseNow(40),
        **values,
    }
    rows = HeldType.objects.using(alias)
    return rows.create(digest=digest_of(type), type=type, **given)


def add_consumer(
    alias: str, *, left: float = 25.0, queue: str = "receipts", started: float = 60.0
) -> None:
    ConsumerProcess.objects.using(alias).create(
        name="web-1:18",
        queue=queue,
        patterns="payment.* audit.#",
        started_at=DatabaseNow(-started),
        expires_at=DatabaseNow(left),
    )


def fill(alias: str, *, confirmed: int = 0, pending: int = 0, parked: int = 0) -> None:
    """Many rows, by the database itself."""
    vendor = connections[alias].vendor
    strftime = "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now'"
    now = {
        "postgresql": "now()",
        "mysql": "utc_timestamp(6)",
        "sqlite": f"{strftime})",
    }[vendor]
    # One mark confirms some hundred rows; databases count how often a value comes.
    before = {
        "postgresql": "now() - n / 300 * interval '1 second'",
        "mysql": "utc_timestamp(6) - interval n div 300 second",
        "sqlite": f"{strftime}, '-' || (n / 300) || ' seconds')",
    }[vendor]
    key = "`key`" if vendor == "mysql" else '"key"'
    # MySQL has no ready series, and would end a recursion after a thousand.
    is_mysql = vendor == "mysql" and not connections[alias].mysql_is_mariadb
    series = {
        "postgresql": "generate_series(1, {0}) AS s(n)",
        "mysql": "(SELECT seq AS n FROM seq_1_to_{0}) AS s",
        "sqlite": "(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c "
        "WHERE n < {0}) SELECT n FROM c) AS s",
    }["sqlite" if is_mysql else vendor]
    uuid = {"postgresql": "gen_random_uuid()", "mysql": "uuid()"}.get(
        vendor, "lower(hex(randomblob(16)))"
    )
    with connections[alias].cursor() as cursor:
        if is_mysql:
            cursor.execute("SET SESSION cte_max_recursion_depth = 1000000")
        for count, confirmed_at, parked_at, reason in (
            (confirmed, before, "NULL", "''"),
            (parked, "NULL", before, "'unroutable'"),
            (pending, "NULL", "NULL", "''"),
        ):
            if count:
                cursor.execute(
                    f"INSERT INTO {TABLE} (event_id, type, {key}, lane, body, size, "
                    "headers, correlation_id, published_at, attempts, last_error, "
                    "confirmed_at, parked_at, parked_reason) "
                    f"SELECT {uuid}, 'payment.completed', '', n %% 32, '{{}}', 2, "
                    f"'{{}}', '', {now}, 0, '', {confirmed_at}, {parked_at}, {reason} "
                    f"FROM {series.format(count)}",
                    [],
                )
        cursor.execute(f"ANALYZE {'TABLE ' if vendor == 'mysql' else ''}{TABLE}")
        if vendor == "mysql":
            cursor.fetchall()
