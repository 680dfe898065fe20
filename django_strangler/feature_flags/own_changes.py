"""
Which transactions changed flags, and when they are over.

Django tells when a transaction commits, but not when it rolls back. So a change leaves
a hook in the connection's list of commit hooks: Django takes it out on commit and on
rollback, of a savepoint as well. While it is there, the change is real for this
transaction, and for nobody else.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler.databases import in_transaction
from django_strangler.evidence.counts import counts

if TYPE_CHECKING:  # The models load this; what they do not need, can wait.
    from .gates import Snapshot


class OwnView(threading.local):
    """What this thread's open transaction reads for itself."""

    connection: BaseDatabaseWrapper | None = None
    changed: bool = False  # By this transaction.
    hooks: Any = None  # The connection's list, which is another after each rollback.
    snapshot: Snapshot | None = None
    until: float = 0.0

    def forget(self) -> None:
        self.connection = self.hooks = self.snapshot = None
        self.changed = False
        self.until = 0.0


class LastChange:
    """The end of this process's last change, compared by identity."""

    token: object = object()

    def now(self) -> None:
        self.token = object()


own = OwnView()
last_change = LastChange()


class _Changed:
    """The commit hook that stands for a change."""

    __qualname__ = "flags_changed"

    def __call__(self) -> None:
        last_change.now()


def note_change(connection: BaseDatabaseWrapper) -> None:
    """Called inside the transaction that changed flags, after the change."""
    counts.cut()  # What was seen before tells of another flag.
    connection.on_commit(_Changed(), robust=True)
    own.forget()
    own.connection = connection
    own.changed = True


def has_changed_flags(connection: BaseDatabaseWrapper) -> bool:
    """Whether the open transaction, as far as it is not rolled back, changed flags."""
    hooks = connection.run_on_commit
    return any(isinstance(hook[1], _Changed) for hook in reversed(hooks))


def sees_the_latest(connection: BaseDatabaseWrapper) -> bool:
    """
    Whether a statement sees what others have committed by now.

    Under REPEATABLE READ a long transaction goes on seeing the flags of its beginning;
    other threads must not be told that these are the latest.
    """
    if not in_transaction(connection):
        return True
    if connection.vendor == "sqlite":
        # Whoever holds the write lock from the beginning sees all there is.
        return getattr(connection, "transaction_mode", None) in (
            "IMMEDIATE",
            "EXCLUSIVE",
        )
    level = getattr(connection, "isolation_level", None)
    name = getattr(level, "name", level) or "repeatable read"
    return str(name).lower().replace("_", " ") in ("read committed", "read uncommitted")
