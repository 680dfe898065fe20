"""SQL that takes its time, in every dialect."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper


def sleep_in_sql(connection: BaseDatabaseWrapper, seconds: float) -> None:
    """A statement that reads, and takes that long."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_sleep(%s)", [seconds])
        elif connection.vendor == "mysql":
            # SLEEP() is woken by a limit and returns 1; a join is ended by an error.
            cursor.execute(
                "SELECT COUNT(*) FROM information_schema.COLUMNS a, "
                "information_schema.COLUMNS b, information_schema.COLUMNS c"
            )
        else:
            cursor.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT "
                f"{int(seconds * 50_000_000)}) SELECT COUNT(*) FROM n"
            )
        cursor.fetchall()
