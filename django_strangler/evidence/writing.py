"""
Writing what was counted: one statement, on a connection of its own.

A database that is away costs counts, once the process has more than it may remember. It
never costs a request.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from hashlib import md5
from typing import Any

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler import counting
from django_strangler.announcing import Announcer
from django_strangler.clock import now_sql
from django_strangler.databases import own_connection
from django_strangler.printable import printable

from .counts import Total, counts
from .models import EvidenceCount

announcer = Announcer(logging.getLogger("django_strangler.evidence"))
noted = counting.counter(
    "evidence",
    "What was seen of the legacy and the modern side: ok or failed.",
    labels=("source", "side", "outcome"),
)
dropped = counting.gauge(
    "evidence_dropped",
    "Notes of this process that found no room, or waited too long for the database.",
    read=lambda: counts.dropped,
)

TABLE = EvidenceCount._meta.db_table
COLUMNS = (
    "process, slice, source, side, pair, at, written_at, checked, failed, buckets, "
    "success, failures"
)

# Called after each writing, by the thread that wrote: those who act on evidence.
watchers: list[Callable[[Sequence[Total]], None]] = []

_one_at_a_time = threading.Lock()


def _forked() -> None:
    global _one_at_a_time
    _one_at_a_time = threading.Lock()  # The parent may have been writing.


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def database() -> str:
    """Where evidence is kept."""
    return router.db_for_write(EvidenceCount)


def flush() -> None:
    """
    Write what was noted, now and by this thread, and let the guards look.

    For tests: outside of them the process's own thread does it every second. An error
    of the database is raised.
    """
    _write()


def write() -> bool:
    """The same for the thread: what goes wrong is said once, and not raised."""
    with survived():
        if _is_private(connections[database()]):
            counts.rest()
        else:
            _write()
        announcer.over("write", "Evidence is written again.")
        return True
    return False


@contextlib.contextmanager
def survived() -> Iterator[None]:
    """Nobody is there to catch what the thread raises."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  It is logged.
        connections.close_all()
        announcer.once(
            "write",
            "Evidence cannot be written (%s). Counts are kept for ten minutes, then "
            "dropped.",
            printable(str(error).partition("\n")[0]),
        )


@contextlib.contextmanager
def connected() -> Iterator[None]:
    """The thread's connection, which notices a silent database and ends with it."""
    try:
        with own_connection(connections[database()]):
            yield
    finally:
        # Made anew next time: what the alias leads to may be another database by then.
        for connection in connections.all(initialized_only=True):
            connection.close()
            del connections[connection.alias]


def _write() -> None:
    with _one_at_a_time:
        taken = counts.take()
        if taken:
            connection = connections[database()]
            sql, params = _statement(connection, counts.process, taken)
            with connection.cursor() as cursor:
                cursor.execute(sql, params)
            counts.written(taken)
            for each in taken:
                ok = each.new_checked - each.new_failed
                noted.add(each.source, each.side, "ok", n=ok)
                noted.add(each.source, each.side, "failed", n=each.new_failed)
    for watch in watchers:
        watch(taken)


def _is_private(connection: BaseDatabaseWrapper) -> bool:
    # Another connection to SQLite's memory locks out the test that works with it, and
    # nobody else could read what is written there.
    is_memory = getattr(connection, "is_in_memory_db", None)
    return is_memory is not None and is_memory()


def _statement(
    connection: BaseDatabaseWrapper, process: str, totals: Sequence[Total]
) -> tuple[str, list[Any]]:
    now, ago = now_sql(connection), now_sql(connection, "-%s")
    day = TODAY[connection.vendor]
    slice_row = f"(%s, %s, %s, %s, %s, {ago}, {now}, %s, %s, %s, %s, %s)"
    day_row = f"('', {day}, %s, %s, %s, {now}, {now}, %s, %s, '{{}}', NULL, '[]')"
    params: list[Any] = []
    for each in totals:
        params += [process, each.slice, *_named(each.source, each.side), each.age]
        params += [each.checked, each.failed, json.dumps(each.buckets)]
        params += [each.success, json.dumps([round(age, 3) for age in each.failures])]
    days: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for each in totals:
        days[each.source, each.side][0] += each.new_checked
        days[each.source, each.side][1] += each.new_failed
    # Sorted: processes that add to the same days lock them in one order.
    for (source, side), (checked, failed) in sorted(days.items()):
        params += [*_named(source, side), checked, failed]
    rows = ", ".join([*[slice_row] * len(totals), *[day_row] * len(days)])
    return (
        f"INSERT INTO {TABLE} ({COLUMNS}) VALUES {rows} {_upsert(connection)}",
        params,
    )


def _named(source: str, side: str) -> tuple[str, str, str]:
    pair = f"{source}\0{side}".encode()
    return source, side, md5(pair, usedforsecurity=False).hexdigest()


# By the database's clock: days since 1970.
TODAY = {
    "postgresql": "CAST(FLOOR(EXTRACT(EPOCH FROM STATEMENT_TIMESTAMP()) / 86400) "
    "AS BIGINT)",
    "mysql": "FLOOR(UNIX_TIMESTAMP() / 86400)",
    "sqlite": "CAST(STRFTIME('%%s', 'now') AS INTEGER) / 86400",
}


def _upsert(connection: BaseDatabaseWrapper) -> str:
    is_mysql = connection.vendor == "mysql"
    new = "VALUES({})" if is_mysql else "excluded.{}"
    # A slice is the process's own and written over; a day is added to.
    sets = [
        f"{name} = CASE WHEN {TABLE}.process = '' THEN {TABLE}.{name} ELSE 0 END + "
        f"{new.format(name)}"
        for name in ("checked", "failed")
    ] + [
        f"{name} = {new.format(name)}"
        for name in ("written_at", "buckets", "success", "failures")
    ]
    conflict = (
        "ON DUPLICATE KEY UPDATE"
        if is_mysql
        else "ON CONFLICT (process, slice, pair) DO UPDATE SET"
    )
    return f"{conflict} {', '.join(sets)}"
