"""
How things stand, as far as the database knows.

One look costs the same however much was confirmed: the outbox is read along its index,
a bounded number of rows, and the other tables have a few.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler.clock import now_sql, seconds_until_sql, stored
from django_strangler.databases import fetch
from django_strangler.holding import GRACE
from django_strangler.inbox.consumer_row import LENGTH
from django_strangler.inbox.models import ConsumerProcess
from django_strangler.outbox.dialect import in_index_order
from django_strangler.outbox.models import (
    HeldType,
    Lane,
    OutboxEvent,
    Pause,
    RelayProcess,
)

COUNTED = 10_000  # Rows; of more, it is only known that there are more.
SEARCHED = 200  # Rows among which the oldest due one is looked for.
SHOWN = 200  # Processes, held types, pauses.
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
    age: float  # Seconds since it started.


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldState:
    """A type that the broker does not take: only probes of it are sent."""

    type: str
    cause: str
    reason: str
    tries: int  # Probes that were refused.
    age: float  # Seconds since it is held.
    next_probe: float  # Seconds until then; negative: a relay is late.


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseState:
    """What a person has told all relays not to send."""

    id: int
    scope: str
    name: str
    by: str
    why: str
    age: float


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
    held: tuple[HeldState, ...]  # The longest first.
    paused: tuple[PauseState, ...]
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


def look(using: str) -> State:
    """Read how things stand. Raises what the database raises."""
    connection = connections[using]
    connection.ensure_connection()  # Or that would count as a difference of clocks.
    now = datetime.now(timezone.utc)
    sums: dict[str, float] = {"due": -1.0}
    parked = []
    rows = fetch(connection, _outbox(connection), [stored(now, connection)])
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
    held, paused = _left_out(connection)
    return State(
        pending=min(int(sums["pending"]), COUNTED),
        more_pending=sums["pending"] > COUNTED,
        oldest_due=sums["due"] if sums["due"] >= 0 else None,
        parked=tuple(sorted(parked, key=lambda each: (-each.count, each.type))),
        more_parked=counted > COUNTED,
        relays=_relays(connection),
        relay_seen=bool(sums["lanes"]),
        consumers=_consumers(connections[router.db_for_write(ConsumerProcess)]),
        held=held,
        paused=paused,
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
    rows = fetch(
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
    rows = fetch(
        connection,
        f"SELECT name, queue, patterns, {left}, "
        f"-({seconds_until_sql(connection, 'started_at')}) FROM {table} "
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
            age=float(age),
        )
        for name, queue, patterns, left, age in rows
    )


def _left_out(
    connection: BaseDatabaseWrapper,
) -> tuple[tuple[HeldState, ...], tuple[PauseState, ...]]:
    """What no relay sends: a few rows, in one statement."""
    quote = connection.ops.quote_name
    held_types, pauses = quote(HeldType._meta.db_table), quote(Pause._meta.db_table)
    age = f"-({seconds_until_sql(connection, 'since')})"
    rows = fetch(
        connection,
        "SELECT * FROM (SELECT 'held' AS a, 0 AS b, type AS c, cause AS d, "
        f"reason AS e, '' AS f, tries AS g, {age} AS h, "
        f"{seconds_until_sql(connection, 'probe_at')} AS i "
        f"FROM {held_types} WHERE NOT parks ORDER BY since LIMIT {SHOWN}) AS held "
        "UNION ALL SELECT * FROM (SELECT 'paused' AS a, id AS b, name AS c, "
        f"scope AS d, why AS e, {quote('by')} AS f, 0 AS g, {age} AS h, 0 AS i "
        f"FROM {pauses} WHERE ended_at IS NULL "
        f"ORDER BY since LIMIT {SHOWN}) AS paused",
    )
    held, paused = [], []
    for what, id, name, kind, text, by, tries, seconds, until in rows:
        if what == "held":
            each = HeldState(
                type=name,
                cause=kind,
                reason=text,
                tries=tries,
                age=max(0.0, float(seconds)),
                next_probe=float(until),
            )
            held.append(each)
        else:
            age_of = max(0.0, float(seconds))
            paused.append(
                PauseState(id=id, scope=kind, name=name, by=by, why=text, age=age_of)
            )
    return tuple(held), tuple(paused)
