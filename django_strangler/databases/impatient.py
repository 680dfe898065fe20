"""A connection of one's own: it notices a database that is gone, slow or silent."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from .cutting import cut

READ_TIMEOUT = 30.0  # No statement of ours takes as long.
_POSTGRESQL = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # Milliseconds.
}
# Where Django waits for an answer and asks no execute_wrappers.
_BESIDE = ("init_connection_state", "_commit", "_rollback")
_MYSQL = {
    "connect_timeout": 5,
    "read_timeout": int(READ_TIMEOUT),
    "write_timeout": int(READ_TIMEOUT),
}


@contextlib.contextmanager
def own_connection(
    connection: BaseDatabaseWrapper, *, read_timeout: float = READ_TIMEOUT
) -> Iterator[None]:
    """
    Let this thread's connection be new and impatient meanwhile.

    What the project has set itself stays, but a pool: its connections are for others.
    """
    if connection.in_atomic_block:
        yield
        return
    connection.close()
    before = connection.settings_dict
    defaults = {"postgresql": _POSTGRESQL, "mysql": _MYSQL}.get(connection.vendor, {})
    options = {**defaults, **before["OPTIONS"]}
    options.pop("pool", None)
    connection.settings_dict = {**before, "OPTIONS": options}
    try:
        if connection.vendor == "postgresql":
            with _Watch(connection, read_timeout):
                yield
        else:
            yield
    finally:
        connection.close()
        connection.settings_dict = before


class _Watch:
    """
    Cuts a connection whose server takes a statement and never answers.

    The kernel of a host whose PostgreSQL hangs goes on answering: neither TCP's
    timeouts nor the server's own would notice, and libpq has none.
    """

    def __init__(self, connection: BaseDatabaseWrapper, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._waiting: float | None = None  # Since when, for an answer.
        self._done = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, name="strangler-database-watch", daemon=True
        )

    def __enter__(self) -> None:
        connection = self._connection
        connection.execute_wrappers.append(self._execute)
        # Django makes statements by itself as well.
        for name in _BESIDE:
            setattr(connection, name, self._watched(getattr(connection, name)))
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._connection.execute_wrappers.remove(self._execute)
        for name in _BESIDE:
            delattr(self._connection, name)

    def _watched(self, method: Callable[..., Any]) -> Any:
        def watched(*given: Any) -> Any:
            self._waiting = time.monotonic()
            try:
                return method(*given)
            finally:
                self._waiting = None

        return watched

    def _execute(self, execute: Callable[..., Any], *given: Any) -> Any:
        return self._watched(execute)(*given)

    def _watch(self) -> None:
        while not self._done.wait(min(1.0, self._seconds / 4)):
            since = self._waiting
            if since is None or time.monotonic() < since + self._seconds:
                continue
            # The thread that waits for an answer sees the end of the connection; and
            # the server, if it is only slow, does not go on with what is given up.
            with contextlib.suppress(Exception):  # The driver's own: closed already.
                cut(self._connection)
