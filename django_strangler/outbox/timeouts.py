"""Timeouts for a relay's own connection, so that a silent database is noticed."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

_POSTGRESQL = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # Milliseconds.
}
_MYSQL = {"connect_timeout": 5, "read_timeout": 30, "write_timeout": 30}


def set_timeouts(connection: BaseDatabaseWrapper) -> None:
    """Add to the connection's options what the project has not set itself."""
    defaults = {"postgresql": _POSTGRESQL, "mysql": _MYSQL}.get(connection.vendor, {})
    options = connection.settings_dict["OPTIONS"]
    for name, value in defaults.items():
        options.setdefault(name, value)
