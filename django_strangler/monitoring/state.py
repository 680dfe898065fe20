"""
How things stand, as far as the database knows.

One look costs the same however much was confirmed: the outbox is read along its index,
a bounded number of rows, and the other tables have a few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler.clock import now_sql, seconds_until_sql, stored
from django_strangler.inbox.models import ConsumerProcess
from django_strangler.inbox.presence import LENGTH
from django_strangler.outbox.dialect import in_index_order
from django_strangler.outbox.leases import GRACE
from django_strangler.outbox.models import Lane, OutboxEvent, RelayProcess

COUNTED = 10_000  # Rows; of more, it is only known that there are more.
SEARCHED = 200  # Rows among which the oldest due one is looked for.
SHOWN = 200  # Processes.
REMEMBERED = 7 * 86400  # Seconds for which a queue without a consumer is missed.


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """Parked events of one type and reason."""

    reason: str
    type: str
    count: int
    newest: float  # Seconds since the last of them was parked.


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayState:
    """A relay that lives, or died without a word."""

    name: str
    steady: bool  # A process of its own, not a task or ``--once``.
    alive: bool
    lanes: int
    heartbeat: float  # Seconds since it renewed its lease.
    overdue: float  # Seconds since its lease ran out; negative: until it will.


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerState:
    """A consumer that lives, or did within the last week."""

    name: str
    queue: str
    patterns: tuple[str, ...]
    alive: bool
    heartbeat: float


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How things stand. Seconds are counted by the database's clock."""

    pending: int  # Delayed ones included.
    more_pending: bool  # Than could be counted.
    oldest_due: float | None  # For how long it could have been sent; None: nothing is.
    parked: tuple[Parked, ...]  # The most first.
    more_parked: bool
    relays: tuple[RelayState, ...]
    relay_seen: bool  # Ever.
    consumers: tuple[ConsumerState, ...]
    host_ahead: float  # Seconds that this host's clock is ahead of the database's.

    @property
    def live_relays(self) -> tuple[RelayState, ...]:
        """Those that hold their lease."""
        return tuple(relay for relay in self.relays if relay.alive)

    @property
    def live_consumers(self) -> tuple[ConsumerState, ...]:
        """Those that gave a sign of life lately."""
        return tuple(consumer for consumer in self.consumers if consumer.alive)

    @property
    def parked_count(self) -> int:
        """How many are parked, as far as they are counted."""
        return min(sum(each.count for each in self.parked), COUNTED)


def look(using: str = "default") -> State:
    """Read how things stand. Raises what the database raises."""
    connection = connections[using]
    connection.ensure_connection()  # Or that would count as a difference of clocks.
    now = datetime.now(timezone.utc)
    sums: dict[str, float] = {"due": -1.0}
    parked = []
    rows = _fetch(connection, _outbox(connection), [stored(now, connection)])
    for what, reason, type, count, seconds in rows:
        if what == "parked":
            newest = max(0.0, float(seconds))
            parked.append(
                Parked(reason=reason, type=type, count=int(count), newest=newest)
            )
        elif what == "clock":
            sums[what] = float(seconds)
        elif what != "due":
            sums[what] = int(count)
        elif count:
            sums["due"] = max(sums["due"], float(seconds))
    counted = sum(each.count for each in parked)
    return State(
        pending=min(int(sums["pending"]), COUNTED),
        more_pending=sums["pending"] > COUNTED,
        oldest_due=sums["due"] if sums["due"] >= 0 else None,
        parked=tuple(sorted(parked, key=lambda each: (-each.count, each.type))),
        more_parked=counted > COUNTED,
        relays=_relays(connection),
        relay_seen=bool(sums["lanes"]),
        consumers=_consumers(connections[router.db_for_write(ConsumerProcess)]),
        host_ahead=sums["clock"],
    )


def _outbox(connection: BaseDatabaseWrapper) -> str:
    """All that is asked of the outbox, as one statement."""
    quote = connection.ops.quote_name
    table, lane = quote(OutboxEvent._meta.db_table), quote(Lane._meta.db_table)
    pending = f"FROM {table} WHERE confirmed_at IS NULL AND parked_at IS NULL"

    def age(column: str) -> str:
        return f"-({seconds_until_sql(connection, column)})"

    now = now_sql(connection)
    # What waits for its next attempt is due from then on.
    due = age("COALESCE(retry_at, published_at)")
    return (
        # If all of those wait, there may be others behind them: better too old a one.
        f"SELECT 'due', '', '', COUNT(*), CASE WHEN COUNT(*) = {SEARCHED} AND "
        "MAX(age) < 0 THEN MAX(old) ELSE COALESCE(MAX(age), 0) END FROM ("
        f"SELECT {due} AS age, {age('published_at')} AS old {pending} "
        "AND available_at IS NULL "
        f"{_order(connection, 3)} LIMIT {SEARCHED}) AS a "
        "UNION ALL SELECT 'due', '', '', COUNT(*), COALESCE(MAX(age), 0) FROM ("
        f"SELECT {age('available_at')} AS age {pending} "
        f"AND available_at <= (SELECT {now}) {_order(connection, 2)} LIMIT 1) AS b "
        "UNION ALL SELECT 'pending', '', '', COUNT(*), 0 FROM ("
        f"SELECT id {pending} {_order(connection, 2)} LIMIT {COUNTED + 1}) AS c "
        "UNION ALL SELECT 'parked', parked_reason, type, COUNT(*), MIN(age) FROM ("
        f"SELECT parked_reason, type, {age('parked_at')} AS age FROM {table} "
        "WHERE confirmed_at IS NULL AND parked_at IS NOT NULL "
        f"{_order(connection, 1, ' DESC')} LIMIT {COUNTED + 1}) AS d "
        "GROUP BY parked_reason, type "
        f"UNION ALL SELECT 'lanes', '', '', COUNT(*), 0 FROM {lane} "
        f"UNION ALL SELECT 'clock', '', '', 0, {seconds_until_sql(connection, '%s')}"
    )


def _order(connection: BaseDatabaseWrapper, known: int, way: str = "") -> str:
    """How the index is walked, when so many of its first columns are NULL in all."""
    if connection.vendor == "sqlite" and known == 3:
        return ""  # Told to order by id, it may walk the primary key.
    names = in_index_order(connection.vendor, known)
    return "ORDER BY " + ", ".join(f"{name}{way}" for name in names)


def _relays(connection: BaseDatabaseWrapper) -> tuple[RelayState, ...]:
    quote = connection.ops.quote_name
    left = seconds_until_sql(connection, "expires_at")
    rows = _fetch(
        connection,
        f"SELECT name, steady, length, {left}, (SELECT COUNT(*) FROM "
        f"{quote(Lane._meta.db_table)} AS lane WHERE lane.relay = relay.token) "
        f"FROM {quote(RelayProcess._meta.db_table)} AS relay "
        f"ORDER BY expires_at DESC LIMIT {SHOWN}",
    )
    return tuple(
        RelayState(
            name=name,
            steady=bool(steady),
            # A lease that ends later than it can was written by another clock.
            alive=0 < left <= length + GRACE,
            lanes=lanes,
            heartbeat=max(0.0, length - float(left)),
            overdue=-float(left),
        )
        for name, steady, length, left, lanes in rows
    )


def _consumers(connection: BaseDatabaseWrapper) -> tuple[ConsumerState, ...]:
    left = seconds_until_sql(connection, "expires_at")
    table = connection.ops.quote_name(ConsumerProcess._meta.db_table)
    rows = _fetch(
        connection,
        f"SELECT name, queue, patterns, {left} FROM {table} "
        # A queue that was given up on purpose must not be an alarm for ever.
        f"WHERE expires_at > {now_sql(connection, str(-REMEMBERED))} "
        f"ORDER BY expires_at DESC LIMIT {SHOWN}",
    )
    return tuple(
        ConsumerState(
            name=name,
            queue=queue,
            patterns=tuple(patterns.split()),
            alive=left > 0,
            heartbeat=max(0.0, LENGTH - float(left)),
        )
        for name, queue, patterns, left in rows
    )


def _fetch(
    connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any] = ()
) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, list(params))
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
