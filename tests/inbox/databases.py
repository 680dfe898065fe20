"""The inbox's database in tests: what is in it, and how its connection is lost."""

from __future__ import annotations

from datetime import date

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from reporting.models import Activity

from django_strangler.inbox.models import InboxEntry
from tests.waiting import wait_for


def effect(alias: str, type: str = "done") -> None:
    """A row that a subscriber writes."""
    row, _ = Activity.objects.using(alias).get_or_create(
        day=date(2026, 1, 1), type=type
    )
    Activity.objects.using(alias).filter(pk=row.pk).update(count=row.count + 1)


def effects(alias: str, type: str = "done") -> int:
    row = Activity.objects.using(alias).filter(type=type).first()
    return row.count if row else 0


def entries(alias: str) -> set[tuple[str, object]]:
    return set(InboxEntry.objects.using(alias).values_list("subscriber", "event_id"))


def end_connection(alias: str, ours: BaseDatabaseWrapper | None = None) -> None:
    """The server ends a connection, this thread's, which is not told yet."""
    if ours is None:
        ours = connections[alias]
        ours.ensure_connection()
    kill, look = {
        "postgresql": (
            "SELECT pg_terminate_backend(%s)",
            "SELECT 1 FROM pg_stat_activity WHERE pid = %s",
        ),
        "mysql": (
            "KILL %s",
            "SELECT 1 FROM information_schema.processlist WHERE id = %s",
        ),
    }[ours.vendor]
    raw = ours.connection
    number = raw.thread_id() if ours.vendor == "mysql" else raw.info.backend_pid
    other = connections[alias].copy()
    try:
        with other.cursor() as cursor:
            cursor.execute(kill, [number])

            def is_gone() -> bool:
                cursor.execute(look, [number])
                return cursor.fetchone() is None

            wait_for(is_gone)
    finally:
        other.close()
