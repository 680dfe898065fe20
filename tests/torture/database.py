"""The database under torture, as the harness sees it: over connections of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from django.db import connections

PENDING = "o.confirmed_at IS NULL AND o.parked_at IS NULL"
# What is due in its turn: not delayed, and of no type that is held for the whole run.
HELD = ("forbidden", "full", "stuck", "orphan")
DUE = f"{PENDING} AND o.available_at IS NULL" + "".join(
    f" AND o.type NOT LIKE '{type}%%'" for type in HELD
)


class Database:
    def __init__(self, alias: str, server: Any) -> None:
        self.alias, self.server = alias, server
        self.is_postgresql = server.url.startswith("postgres")

    def query(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        """Over a connection that lives as long as the statement."""
        with self.session() as cursor:
            return self._execute(cursor, sql, params)

    @contextlib.contextmanager
    def session(self) -> Iterator[Any]:
        """A cursor in autocommit mode."""
        connection = connections[self.alias].copy()
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            with contextlib.suppress(Exception):
                connection.close()

    def one(self, sql: str, *params: Any) -> Any:
        """The only value."""
        return self.query(sql, *params)[0][0]

    @staticmethod
    def _execute(cursor: Any, sql: str, params: Any) -> list[tuple[Any, ...]]:
        cursor.execute(sql, params)
        return list(cursor.fetchall()) if cursor.description else []

    # Relays, as the tables have them.

    def pending_in_lanes(self, relay: str) -> int:
        """How many events wait, or are under way, in the lanes of this relay."""
        return int(
            self.one(
                "SELECT COUNT(*) FROM strangler_outboxevent o "
                "JOIN strangler_lane l ON l.number = o.lane "
                "JOIN strangler_relayprocess r ON r.token = l.relay "
                f"WHERE r.name = %s AND {DUE}",
                relay,
            )
        )

    def lanes_of(self, relay: str) -> int:
        return int(
            self.one(
                "SELECT COUNT(*) FROM strangler_lane l JOIN strangler_relayprocess r "
                "ON r.token = l.relay WHERE r.name = %s",
                relay,
            )
        )

    def pending(self) -> int:
        """All that is not confirmed or parked, and due."""
        return int(
            self.one(
                f"SELECT COUNT(*) FROM strangler_outboxevent o WHERE {PENDING} "
                f"AND (o.available_at IS NULL OR o.available_at <= {self.now})"
            )
        )

    def pending_of(self, type: str) -> int:
        """How many events of types that begin so are pending."""
        return int(
            self.one(
                f"SELECT COUNT(*) FROM strangler_outboxevent o WHERE {PENDING} "
                "AND o.type LIKE %s",
                f"{type}.%",
            )
        )

    def due(self) -> int:
        """What is pending, may be sent, and has no other time."""
        return int(
            self.one(f"SELECT COUNT(*) FROM strangler_outboxevent o WHERE {DUE}")
        )

    def parked(self, reason: str = "%") -> int:
        return int(
            self.one(
                "SELECT COUNT(*) FROM strangler_outboxevent o WHERE "
                "o.confirmed_at IS NULL AND o.parked_at IS NOT NULL "
                "AND o.parked_reason LIKE %s",
                reason,
            )
        )

    def last_parking(self) -> int:
        return int(self.one("SELECT COALESCE(MAX(id), 0) FROM torture_parking"))

    @property
    def now(self) -> str:
        return "clock_timestamp()" if self.is_postgresql else "UTC_TIMESTAMP(6)"

    @property
    def ahead(self) -> float:
        """By how many seconds its clock is ahead of the machine's."""
        import time

        epoch = (
            "EXTRACT(EPOCH FROM clock_timestamp())"
            if self.is_postgresql
            else "UNIX_TIMESTAMP(SYSDATE(6))"
        )
        return float(self.one(f"SELECT {epoch}")) - time.time()

    # Violence.

    def terminate(self) -> int:
        """End every session but this one; says how many there were."""
        if self.is_postgresql:
            return len(
                self.query(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
                    "datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        with self.session() as cursor:
            ids = self._execute(
                cursor,
                "SELECT id FROM information_schema.processlist "
                "WHERE db = DATABASE() AND id <> CONNECTION_ID()",
                (),
            )
            for (session,) in ids:
                with contextlib.suppress(Exception):
                    cursor.execute(f"KILL {int(session)}")
        return len(ids)
