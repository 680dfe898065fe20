"""Database errors that pass: a deadlock, a lock held too long, a lost race."""

from __future__ import annotations

from django.db import DatabaseError

_SQLSTATES = {"40001", "40P01", "55P03"}  # Serialization, deadlock, lock timeout.
# The same of MariaDB and MySQL; 1020 is "changed since last read", under snapshots.
_NUMBERS = {1020, 1205, 1213}


def is_passing(error: DatabaseError) -> bool:
    """Whether the same statement may well succeed in a moment, on this connection."""
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if state is not None:
        return state in _SQLSTATES
    number = error.args[0] if error.args else None
    if isinstance(number, int):
        return number in _NUMBERS
    return "database is locked" in str(error) or "table is locked" in str(error)
