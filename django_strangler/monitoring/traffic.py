"""
How many events were published and confirmed in each minute of the last hour.

What is read is bounded, however busy the hour was. Published events have no index by
time; but ids grow with time, so in a busy hour a grid of ids is read, and each that is
there stands for its step. In a quiet one the step is 1, and nothing is guessed.
Confirmed events are counted in the index, up to ``COUNTED`` a minute.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler.clock import now_sql, seconds_until_sql
from django_strangler.outbox.models import OutboxEvent

MINUTES = 60
COUNTED = 2_000  # Confirmed events of a minute.
EXACT = 10_000  # Ids that are all read.
SAMPLED = 2_500  # Ids of the grid, where there are more.
LONGEST = 27  # No hour has more events than two to the power of this.


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """One number per minute of the clock, the one that has just begun last."""

    published: tuple[int, ...]
    confirmed: tuple[int, ...]  # COUNTED means: so many, or more.
    step: int = 1  # How many each published event that was seen stands for.


def look(using: str, *, into: float = 60.0) -> Traffic:
    """
    The last hour, by the database's clock.

    ``into`` seconds of the last minute are over. So the minutes can be the clock's, and
    a drawing of them does not move with every look.
    """
    connection = connections[using]
    table = connection.ops.quote_name(OutboxEvent._meta.db_table)
    age = f"-({seconds_until_sql(connection, 'published_at')})"
    confirmed, last, older = {}, 0, [LONGEST]
    with connection.cursor() as cursor:
        cursor.execute(_counts_and_edges(connection, table, age, into), [])
        for what, number, value in cursor.fetchall():
            if what == "confirmed":
                confirmed[number] = int(value)
            elif what == "last":
                last = int(value or 0)
            elif value is None or value > 60 * MINUTES:
                older.append(number)
        width = 2 ** min(older)
        step = 1 if width <= EXACT else -(-width // SAMPLED)
        cursor.execute(
            f"SELECT FLOOR(({age} + {60 - into:.3f}) / 60), COUNT(*) FROM {table} "
            f"WHERE {_grid(last, width, step)} GROUP BY 1",
            [],
        )
        published: Counter[int] = Counter()
        for ago, count in cursor.fetchall():
            # A clock that was set back has published in the future.
            published[max(0, int(ago))] += count * step
    return Traffic(
        published=_per_minute(published), confirmed=_per_minute(confirmed), step=step
    )


def _counts_and_edges(
    connection: BaseDatabaseWrapper, table: str, age: str, into: float
) -> str:
    """
    The confirmed of each minute, the last id, and how old those before it are.

    Of the latter, each is twice as far away as the one before; the first that is older
    than an hour bounds the hour.
    """
    began = [0.0, *(into + 60 * ago for ago in range(MINUTES))]
    now = [now_sql(connection, f"{-seconds:.3f}") for seconds in began]
    last = f"(SELECT MAX(id) FROM {table})"
    return " UNION ALL ".join(
        [
            f"SELECT 'confirmed', {ago}, COUNT(*) FROM (SELECT 1 AS one FROM {table} "
            f"WHERE confirmed_at > {now[ago + 1]} AND confirmed_at <= {now[ago]} "
            f"ORDER BY confirmed_at LIMIT {COUNTED}) AS m{ago}"
            for ago in range(MINUTES)
        ]
        + [f"SELECT 'last', 0, {last}"]
        + [
            f"SELECT 'age', {power}, (SELECT {age} FROM {table} "
            f"WHERE id <= {last} - {2**power} ORDER BY id DESC LIMIT 1)"
            for power in range(LONGEST)
        ]
    )


def _grid(last: int, width: int, step: int) -> str:
    first = max(last - width, 0)
    if step == 1:
        return f"id > {first}"
    ids = ", ".join(map(str, range(last, first, -step)))
    return f"id IN ({ids})"


def _per_minute(counts: dict[int, int]) -> tuple[int, ...]:
    return tuple(counts.get(ago, 0) for ago in reversed(range(MINUTES)))
