"""
The database's clock, and this machine's.

Every comparison of times happens in the database, by the database's clock: hosts
disagree about the time, and a server's zone is not the application's.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone, tzinfo
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.sql.compiler import SQLCompiler
from django.utils.dateparse import parse_datetime
from django.utils.timezone import get_default_timezone, make_naive

_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", None)


def since_boot() -> float:
    """
    Seconds on a clock that never goes back, for how long something is valid.

    On Linux it goes on while the machine is suspended, or moved to another host: what
    another process was promised meanwhile has run out.
    """
    if _SINCE_BOOT is None:
        return time.monotonic()
    return time.clock_gettime(_SINCE_BOOT)


def now_sql(connection: BaseDatabaseWrapper, seconds: str = "") -> str:
    """
    The database's time as SQL, in the form in which Django stores times there.

    ``seconds`` is SQL for a number (``%s`` say) that is added to it.
    """
    if connection.vendor == "postgresql":
        # now() would be the start of the transaction; and a comparison with
        # CLOCK_TIMESTAMP(), which changes from row to row, cannot use an index.
        plus = f" + ({seconds}) * INTERVAL '1 second'" if seconds else ""
        return f"(STATEMENT_TIMESTAMP(){plus})"
    offset = _stored_offset(connection)
    if connection.vendor == "mysql":
        # CURRENT_TIMESTAMP is in the server's zone, which is not known here.
        if not seconds and not offset:
            return "UTC_TIMESTAMP(6)"
        total = f"({seconds or '0'}) + {offset}"
        return f"(UTC_TIMESTAMP(6) + INTERVAL ROUND(1000000 * ({total})) MICROSECOND)"
    moved = f"JULIANDAY('now') + (({seconds or '0'}) + {offset}) / 86400.0"
    return f"STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', {moved})"


def seconds_until_sql(connection: BaseDatabaseWrapper, column: str) -> str:
    """How many seconds remain until a time in a column; negative once it is past."""
    now = now_sql(connection)
    if connection.vendor == "postgresql":
        return f"CAST(EXTRACT(EPOCH FROM {column} - {now}) AS DOUBLE PRECISION)"
    if connection.vendor == "mysql":
        return f"(TIMESTAMPDIFF(MICROSECOND, {now}, {column}) / 1000000.0)"
    return f"((JULIANDAY({column}) - JULIANDAY({now})) * 86400.0)"


def aware(value: Any, connection: BaseDatabaseWrapper) -> datetime | None:
    """A time as a driver or the ORM brought it back, with its zone."""
    moment = parse_datetime(value) if isinstance(value, str) else value
    if isinstance(moment, datetime) and moment.utcoffset() is None:
        return moment.replace(tzinfo=_stored_zone(connection))
    return moment if isinstance(moment, datetime) else None


def stored(moment: datetime, connection: BaseDatabaseWrapper) -> Any:
    """An aware time as a parameter, in the form in which Django stores times there."""
    if connection.vendor == "postgresql":
        return moment
    naive = make_naive(moment, _stored_zone(connection))
    # A text, as Django's own: neither driver's adapter is asked.
    return naive.isoformat(sep=" ", timespec="microseconds")


def _stored_zone(connection: BaseDatabaseWrapper) -> tzinfo:
    # UTC, or the zone that DATABASES names; without USE_TZ, the project's own.
    return connection.timezone or get_default_timezone()


def _stored_offset(connection: BaseDatabaseWrapper) -> int:
    zone = _stored_zone(connection)
    if zone is timezone.utc or connection.vendor == "postgresql":
        return 0
    offset = datetime.now(zone).utcoffset()
    return int(offset.total_seconds()) if offset else 0


class DatabaseNow(models.Expression):
    """The database's time when the statement runs, as a value for a DateTimeField."""

    allowed_default = True

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(output_field=models.DateTimeField())
        self.seconds = float(seconds)

    def as_sql(  # type: ignore[override]  # Lists, as Django 5.2 extends them.
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **kwargs: Any
    ) -> tuple[str, list[Any]]:
        return now_sql(connection, f"{self.seconds:.6f}" if self.seconds else ""), []
