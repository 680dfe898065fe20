"""Handling an event: its inbox row and the subscriber's effect, or neither."""

from __future__ import annotations

import hashlib
from uuid import UUID

from django.db import (
    DataError,
    Error,
    IntegrityError,
    connections,
    router,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler import context, counting
from django_strangler.databases import claim_once, fetch
from django_strangler.events import Event
from django_strangler.evidence.noting import note
from django_strangler.exceptions import BrokenTransaction

from .after_commit import AfterCommit
from .models import InboxEntry
from .subscribers import Subscriber

calls = counting.counter(
    "subscriber_calls", "handled, duplicate or failed.", ("subscriber", "outcome")
)

_IN_ERROR = 3  # libpq's PQTRANS_INERROR, in psycopg 2 and 3.


class AnotherContent(Exception):
    """The subscriber has handled an event of this id, which had another content."""


class _AlreadyHandled(Exception):
    """The inbox has a row for this subscriber and event."""


class DatabaseGone(Exception):
    """The database failed, and neither the event nor the subscriber is to blame."""

    def __init__(self, text: str, *, called: bool = False) -> None:
        super().__init__(text)
        # Its connection was lost while the subscriber was at work. Once, that is bad
        # luck; again and again, it is what the subscriber does.
        self.called = called


def inbox_alias() -> str:
    """The database of the inbox, which is where effects happen once."""
    return str(router.db_for_write(InboxEntry))


def digest(body: bytes | str) -> bytes:
    """What the inbox remembers of a body."""
    return hashlib.sha256(body.encode() if isinstance(body, str) else body).digest()


def handle(
    subscriber: Subscriber, event: Event, body: bytes | str | None = None
) -> bool:
    """
    Call the subscriber, unless it has handled this event; says whether it was called.

    The row comes first, in the transaction of the effect: two deliveries at once wait
    for each other at the unique index, and the second finds the first one's row. If
    that is of another type or body, it raises ``AnotherContent``. What the
    subscriber raises leaves neither row nor effect, and is raised; unless the inbox's
    database is to blame, which is ``DatabaseGone``.
    """
    alias = inbox_alias()
    connection = connections[alias]
    raw, after = None, AfterCommit(connection)
    try:
        _let_atomic_commit(connection)
        # Around the transaction: what waits for the commit needs it, too.
        with context.restored(event.headers), transaction.atomic(using=alias):
            raw = connection.connection
            _claim(subscriber, event, body, connection)
            after.begin()
            subscriber.handler(event)
            _check_unbroken(connection, subscriber)
            after.check(subscriber)
    except _AlreadyHandled:
        calls.add(subscriber.name, "duplicate")
        return False
    except (DatabaseGone, AnotherContent):
        raise
    except BaseException as error:
        if after.is_committed:
            after.failed(subscriber, error)
        elif _is_gone(connection, raw, error):
            raise DatabaseGone(str(error), called=after.has_begun) from error
        else:
            calls.add(subscriber.name, "failed")
            note(f"subscriber:{subscriber.name}", ok=False)
            raise
    calls.add(subscriber.name, "handled")
    note(f"subscriber:{subscriber.name}")
    return True


def _claim(
    subscriber: Subscriber,
    event: Event,
    body: bytes | str | None,
    connection: BaseDatabaseWrapper,
) -> None:
    """Insert the row, or find out what the one says that is there."""
    content = None if body is None else digest(body)
    try:
        is_new = claim_once(
            connection,
            InboxEntry._meta.db_table,
            values={
                "event_id": event.id,
                "subscriber": subscriber.name,
                "event_type": event.type,
                "digest": content,
            },
            unique=("event_id", "subscriber"),
        )
        if is_new:
            return
        type, known = _entry(connection, event.id, subscriber.name)
    except DataError:
        raise  # What the database cannot hold comes from the event.
    except IntegrityError as error:
        # Not the row of this event and subscriber: another rule of the table.
        raise DatabaseGone(
            f"the inbox's row cannot be written: {error}. If the sequence of its ids "
            "is behind the table, strangler_doctor says so"
        ) from error
    except Error as error:
        # Ours, and right: the server is read-only since a failover, say, or full.
        raise DatabaseGone(str(error)) from error
    is_same = type in ("", event.type) and (
        known is None or content is None or bytes(known) == content
    )
    if is_same:
        raise _AlreadyHandled
    raise AnotherContent(
        f"{subscriber.name} has handled an event {event.id} of type {type!r:.100} "
        "whose type or body was another: a publisher used the id twice"
    )


def _entry(
    connection: BaseDatabaseWrapper, event_id: UUID, subscriber: str
) -> tuple[str, bytes | None]:
    native = connection.features.has_native_uuid_field
    # A locking read where a transaction's snapshot may be older than the row.
    lock = " LOCK IN SHARE MODE" if connection.vendor == "mysql" else ""
    table = connection.ops.quote_name(InboxEntry._meta.db_table)
    rows = fetch(
        connection,
        f"SELECT event_type, digest FROM {table} "
        f"WHERE event_id = %s AND subscriber = %s{lock}",
        [event_id if native else event_id.hex, subscriber],
    )
    if not rows:
        raise DatabaseGone("an inbox row was deleted while it was looked at")
    return rows[0]


def _let_atomic_commit(connection: BaseDatabaseWrapper) -> None:
    # A project may have switched autocommit off, and a connection that was lost at the
    # wrong moment is left like that: atomic() then leaves the COMMIT to somebody else.
    is_well = connection.connection is not None and connection.autocommit
    if not (connection.in_atomic_block or is_well or connection.get_autocommit()):
        connection.set_autocommit(True)


def _is_gone(
    connection: BaseDatabaseWrapper, raw: object, error: BaseException
) -> bool:
    """
    Whether the connection was lost on the way, whatever the subscriber made of that.

    Django closes what it cannot roll back, and may have connected anew by now.
    """
    if raw is None:
        return isinstance(error, Error)  # It never began.
    if connection.connection is raw:
        # Lost after the COMMIT: Django could not even switch autocommit on again.
        return not connection.in_atomic_block and not connection.autocommit
    return not connection.closed_in_transaction  # By the subscriber itself.


def _check_unbroken(connection: BaseDatabaseWrapper, subscriber: Subscriber) -> None:
    """
    Find a transaction that would not commit, although nobody raised.

    A subscriber may swallow a database error: PostgreSQL then answers COMMIT by rolling
    back, without an error, and Django takes a closed connection for a rollback as well.
    """
    raw = connection.connection
    status = getattr(getattr(raw, "info", None), "transaction_status", None)
    if connection.closed_in_transaction or raw is None:
        what = "closed its database connection"
    elif connection.needs_rollback or status == _IN_ERROR:
        what = "went on after a database error"
    elif not connection.in_atomic_block:
        what = "ended its transaction"
    else:
        return
    raise BrokenTransaction(
        f"The subscriber {subscriber.name!r} {what}, so nothing was committed. Put "
        "statements that may fail into a transaction.atomic() of their own."
    )
