"""
Waking relays: NOTIFY after a commit on PostgreSQL, a poll everywhere else.

NOTIFY is never sent inside the business transaction, where it would take a global lock
at COMMIT, and goes around Django's cursor, so that nobody's query counts change.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler import conf
from django_strangler.databases import a_test_never_commits

CHANNEL = "strangler_outbox"
QUIET = 0.020  # Seconds between two NOTIFY of one process; a woken relay looks longer.

_last_sent: dict[str, float] = {}


def wake_relays_after_commit(connection: BaseDatabaseWrapper) -> None:
    """Arrange for one NOTIFY once the caller's transaction has committed."""
    if not _can_notify(connection) or a_test_never_commits(connection):
        return
    if not conf.current().relay.notify:
        return
    if not connection.in_atomic_block and not connection.get_autocommit():
        return  # Manual transactions have no on_commit; the poll finds the event.
    hooks = connection.run_on_commit
    if hooks and getattr(hooks[-1][1], "func", None) is _notify:
        return  # The event before this one, in the same transaction, asked already.
    transaction.on_commit(
        partial(_notify, connection.alias), using=connection.alias, robust=True
    )


def _notify(alias: str) -> None:
    now = time.monotonic()
    if now - _last_sent.get(alias, 0.0) < QUIET:
        return
    _last_sent[alias] = now
    raw: Any = connections[alias].connection
    if raw is not None:
        raw.execute(f"NOTIFY {CHANNEL}")


def _can_notify(connection: BaseDatabaseWrapper) -> bool:
    driver: Any = getattr(connection, "Database", None)  # psycopg 3, or 2.
    return connection.vendor == "postgresql" and driver.__version__.startswith("3")
