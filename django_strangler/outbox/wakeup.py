"""
Waking relays: NOTIFY after a commit on PostgreSQL, a poll everywhere else.

NOTIFY is never sent inside the business transaction, where it would take a global lock
at COMMIT, and goes around Django's cursor, so that nobody's query counts change. It
names the lanes, so that of many relays only those wake up that drain them.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Set
from functools import partial
from typing import Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler import conf
from django_strangler.databases import a_test_never_commits

CHANNEL = "strangler_outbox"
# Seconds for which a process tells a lane's relay nothing more; it looks for longer.
QUIET = 0.020
FEW = 8  # Lanes, to be told by number.

_told: dict[str, tuple[float, Set[int] | None]] = {}  # When, and whom; None is all.


def wake_relays_after_commit(
    connection: BaseDatabaseWrapper, lanes: Collection[int]
) -> None:
    """Arrange for one NOTIFY once the caller's transaction has committed."""
    if not _can_notify(connection) or a_test_never_commits(connection):
        return
    if not conf.current().relay.notify:
        return
    if not connection.in_atomic_block and not connection.get_autocommit():
        return  # Manual transactions have no on_commit; the poll finds the event.
    hooks = connection.run_on_commit
    last: Any = hooks[-1][1] if hooks else None
    if getattr(last, "func", None) is _notify:
        # The event before this one, in the same transaction, asks already.
        last.args[1].update(lanes)
        return
    transaction.on_commit(
        partial(_notify, connection.alias, set(lanes)),
        using=connection.alias,
        robust=True,
    )


def _notify(alias: str, lanes: Set[int]) -> None:
    now = time.monotonic()
    at, told = _told.get(alias, (0.0, frozenset()))
    is_quiet = now - at < QUIET
    if is_quiet and (told is None or lanes <= told):
        return
    # So a busy process tells some, then all, and then nobody for a while.
    whom = None if is_quiet or len(lanes) > FEW else lanes
    _told[alias] = (at if is_quiet else now), whom
    raw: Any = connections[alias].connection
    if raw is not None:
        raw.execute(f"NOTIFY {CHANNEL}, '{','.join(map(str, sorted(whom or ())))}'")


def concerns(payload: str, lanes: Collection[int]) -> bool:
    """Whether a relay with these lanes is meant."""
    named = payload.split(",")
    # Whatever else says nothing, or is another release's, is for all.
    return not payload.replace(",", "").isdigit() or any(
        str(lane) in named for lane in lanes
    )


def _can_notify(connection: BaseDatabaseWrapper) -> bool:
    driver: Any = getattr(connection, "Database", None)  # psycopg 3, or 2.
    return connection.vendor == "postgresql" and driver.__version__.startswith("3")
