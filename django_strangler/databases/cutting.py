"""Ending another thread's database connection, so that it cannot commit."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from typing import Any

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("django_strangler.databases")

PATIENCE = 2.0  # How long a server may take to end a statement, in seconds.


def cut(connection: BaseDatabaseWrapper) -> None:
    """
    End it in the driver; the thread that uses it gets an error from then on.
    """
    raw = connection.connection
    if raw is None:
        return
    {"sqlite": _sqlite, "mysql": _mysql}.get(connection.vendor, _by_socket)(
        raw, connection.alias
    )


def _sqlite(raw: Any, alias: str) -> None:
    raw.interrupt()
    raw.close()


def _mysql(raw: Any, alias: str) -> None:
    # Or a statement that waits for a lock goes on, with the inbox row it inserted. Its
    # own thread: the server may be one that never answers.
    killer = threading.Thread(target=_kill, args=[raw.thread_id(), alias], daemon=True)
    killer.start()
    killer.join(PATIENCE)
    _by_socket(raw, alias)


def _kill(number: int, alias: str) -> None:
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute("KILL %s", [number])
    except DatabaseError as error:
        logger.warning("The connection to %r could not be killed: %s", alias, error)
    finally:
        connections[alias].close()


def _by_socket(raw: Any, alias: str) -> None:
    # psycopg: what runs on the server ends as well. If not, the shutdown still counts.
    with contextlib.suppress(Exception):
        if hasattr(raw, "cancel_safe"):
            raw.cancel_safe(timeout=PATIENCE)
        elif hasattr(raw, "cancel"):
            raw.cancel()
    try:
        shut_down(raw)
    except Exception as error:  # noqa: BLE001  The driver's own: it is closed already.
        logger.warning("The connection to %r could not be cut: %s", alias, error)


def shut_down(raw: Any) -> None:
    """
    Shut down the socket of a driver's connection; raises what the driver raises.

    It is not closed: a thread may be waiting for it, and the number of a closed one is
    soon that of another file.
    """
    own = getattr(raw, "_sock", None)  # PyMySQL
    number = own.fileno() if own is not None else raw.fileno()
    with socket.socket(fileno=os.dup(number)) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)
