"""
How things stand, as far as the database knows, and whether that is well.

One look costs the same however much was confirmed: the outbox is read along its index,
a bounded number of rows, and the other tables have a few.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler import conf
from django_strangler.clock import now_sql, seconds_until_sql, stored
from django_strangler.inbox.models import ConsumerProcess
from django_strangler.inbox.presence import LENGTH
from django_strangler.outbox.leases import GRACE
from django_strangler.outbox.models import INDEX, Lane, OutboxEvent, RelayProcess

COUNTED = 10_000  # Rows; of more, it is only known that there are more.
SEARCHED = 200  # Rows among which the oldest due one is looked for.
SHOWN = 200  # Processes.


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
    """A consumer that lives, or was seen within the last days."""

    name: str
    queue: str
    patterns: tuple[str, ...]
    alive: bool
    heartbeat: float


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How things stand. Seconds are counted by the database's clock."""

    database: str
    checked_at: datetime
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
        return sum(each.count for each in self.parked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether events flow."""

    ready: bool
    sentence: str  # How things are.
    reasons: tuple[str, ...] = ()  # Why not, each with what to do.


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
        database=using,
        checked_at=now,
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


_looks: dict[str, tuple[float, State]] = {}
_looking = threading.Lock()


def recent(using: str = "default", *, seconds: float) -> State:
    """How things stood up to so many seconds ago: whoever asks often, costs nothing."""
    with _looking:
        at, state = _looks.get(using, (0.0, None))
        if state is None or time.monotonic() >= at + seconds:
            with _closed_if_opened():
                state = look(using)
            _looks[using] = time.monotonic(), state
        return state


@contextmanager
def _closed_if_opened() -> Iterator[None]:
    """Leave no connection to a thread that had none: it may be one for one scrape."""
    before = [
        each for each in connections.all(initialized_only=True) if each.connection
    ]
    try:
        yield
    finally:
        for connection in connections.all(initialized_only=True):
            if connection not in before and not connection.in_atomic_block:
                connection.close()


def verdict(state: State, settings: conf.Settings) -> Verdict:
    """Whether events flow, and in one sentence how things are."""
    reasons = (
        *_trouble_with_relays(state),
        *_trouble_with_age(state, settings.unhealthy_after),
        *_trouble_with_parking(state, settings.unhealthy_after),
    )
    sentence = " ".join(reasons) if reasons else f"Events flow: {_shown(state)}."
    return Verdict(ready=not reasons, sentence=sentence, reasons=reasons)


def span(seconds: float) -> str:
    """Seconds as people say them."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _trouble_with_relays(state: State) -> list[str]:
    start = "Start one: manage.py drain_outbox"
    if not state.relay_seen:
        return [f"No relay was ever seen. {start}"]
    if state.live_relays:
        return []
    # Its lanes are still its own: neither another relay nor a task has come after it.
    died = [relay for relay in state.relays if relay.steady and relay.lanes]
    if died:
        last = min(died, key=lambda relay: relay.overdue)
        return [f"The relay {last.name} died, {span(last.heartbeat)} ago. {start}"]
    return []


def _trouble_with_age(state: State, most: float) -> list[str]:
    if state.oldest_due is None or state.oldest_due <= most:
        return []
    who = (
        "Look at the relay's log, or run: manage.py strangler_doctor"
        if state.live_relays
        else "No relay lives: run manage.py drain_outbox"
    )
    return [f"The oldest due event waits for {span(state.oldest_due)}. {who}"]


def _trouble_with_parking(state: State, within: float) -> list[str]:
    fresh = [each for each in state.parked if each.newest <= within]
    if not fresh:
        return []
    kinds = ", ".join(f"{each.type} ({each.reason})" for each in fresh[:3])
    return [
        f"Events are being parked: {kinds}{', …' if len(fresh) > 3 else ''}. "
        "Mend the cause, then run: manage.py replay_events"
    ]


def _shown(state: State) -> str:
    more = "more than " if state.more_pending else ""
    parts = [f"{more}{state.pending:,} pending"]
    if state.oldest_due is not None:
        parts.append(f"the oldest due for {span(state.oldest_due)}")
    live = len(state.live_relays)
    parts.append("1 relay lives" if live == 1 else f"{live} relays live")
    if state.parked:
        more = "more than " if state.more_parked else ""
        parts.append(f"{more}{min(state.parked_count, COUNTED):,} parked")
    return ", ".join(parts)


# Reading


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
    # Each database sees it by other words; see docs/decisions/0002-one-index.md.
    if connection.vendor == "sqlite" and known == 3:
        return ""  # Told to order by id, it may walk the primary key.
    names = INDEX[known:] if connection.vendor == "mysql" else INDEX
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
