"""
The database's clock.

Every comparison of times happens in the database, by the database's clock: hosts disagree
about the time, and a server's zone is not the application's.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.sql.compiler import SQLCompiler


def now_sql(vendor: str, seconds: str = "") -> str:
    """
    The database's time as SQL, in the form that Django reads back.

    ``seconds`` is SQL for a number (``%s`` say) that is added to it.
    """
    if vendor == "postgresql":
        # now() would be the start of the transaction.
        plus = f" + ({seconds}) * INTERVAL '1 second'" if seconds else ""
        return f"(CLOCK_TIMESTAMP(){plus})"
    offset = _local_offset()
    if vendor == "mysql":
        # CURRENT_TIMESTAMP is in the server's zone, which nobody knows.
        total = f"({seconds or '0'}) + {offset}"
        return f"(UTC_TIMESTAMP(6) + INTERVAL ROUND(1000000 * ({total})) MICROSECOND)"
    moved = f"JULIANDAY('now') + (({seconds or '0'}) + {offset}) / 86400.0"
    return f"STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', {moved})"


def seconds_until_sql(vendor: str, column: str) -> str:
    """How many seconds remain until a time in a column; negative once it is past."""
    now = now_sql(vendor)
    if vendor == "postgresql":
        return f"CAST(EXTRACT(EPOCH FROM {column} - {now}) AS DOUBLE PRECISION)"
    if vendor == "mysql":
        return f"(TIMESTAMPDIFF(MICROSECOND, {now}, {column}) / 1000000.0)"
    return f"((JULIANDAY({column}) - JULIANDAY({now})) * 86400.0)"


def _local_offset() -> int:
    # Without USE_TZ, Django keeps local times in databases that know no zones.
    if settings.USE_TZ:
        return 0
    offset = datetime.now(ZoneInfo(settings.TIME_ZONE)).utcoffset()
    return int(offset.total_seconds()) if offset else 0


class DatabaseNow(models.Expression):
    """The database's time when the statement runs, as a value for a DateTimeField."""

    allowed_default = True

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(output_field=models.DateTimeField())
        self.seconds = float(seconds)

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **kwargs: Any
    ) -> tuple[str, list[Any]]:
        # A literal and no parameter: it also stands in a column's DEFAULT.
        seconds = f"{self.seconds:.6f}" if self.seconds else ""
        sql = now_sql(connection.vendor, seconds)
        return sql, []

    def get_source_expressions(self) -> list[Any]:
        return []

    def deconstruct(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        """Name it in a migration."""
        given = (self.seconds,) if self.seconds else ()
        return "django_strangler.clock.DatabaseNow", given, {}
