"""Handling an event: its inbox row and the subscriber's effect, or neither."""

from __future__ import annotations

from collections import defaultdict

from django.db import (
    DataError,
    Error,
    IntegrityError,
    connections,
    router,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import UUIDField

from django_strangler.clock import now_sql
from django_strangler.events import Event
from django_strangler.exceptions import BrokenTransaction

from .models import InboxEntry
from .subscribers import Subscriber

_UUID = UUIDField()
# Calls of this process by subscriber and outcome: handled, duplicate or failed.
counts: defaultdict[tuple[str, str], int] = defaultdict(int)

_IN_ERROR = 3  # libpq's PQTRANS_INERROR, in psycopg 2 and 3.


class _AlreadyHandled(Exception):
    """The inbox has a row for this subscriber and event."""


class DatabaseGone(Exception):
    """The database failed, and neither the event nor the subscriber is to blame."""


def inbox_alias() -> str:
    """The database of the inbox, which is where effects happen once."""
    return str(router.db_for_write(InboxEntry))


def handle(subscriber: Subscriber, event: Event) -> bool:
    """
    Call the subscriber, unless it has handled this event; says whether it was called.

    The row comes first, in the transaction of the effect: two deliveries at once wait
    for each other at the unique index, and the second finds the first one's row.
    Whatever the subscriber raises leaves neither row nor effect, and is raised; unless
    the inbox's database is to blame, which is ``DatabaseGone``.
    """
    alias = inbox_alias()
    connection = connections[alias]
    raw = None
    try:
        _let_atomic_commit(connection)
        with transaction.atomic(using=alias):
            raw = connection.connection
            _insert(subscriber, event, connection)
            subscriber.handler(event)
            _check_unbroken(connection, subscriber)
    except _AlreadyHandled:
        counts[subscriber.name, "duplicate"] += 1
        return False
    except DatabaseGone:
        raise
    except BaseException as error:
        if _is_gone(connection, raw, error):
            raise DatabaseGone(str(error)) from error
        counts[subscriber.name, "failed"] += 1
        raise
    counts[subscriber.name, "handled"] += 1
    return True


def _insert(
    subscriber: Subscriber, event: Event, connection: BaseDatabaseWrapper
) -> None:
    # By hand: the model's own save() costs half as much as everything else together.
    quote, native = connection.ops.quote_name, connection.features.has_native_uuid_field
    sql = (
        f"INSERT INTO {quote(InboxEntry._meta.db_table)} "
        "(event_id, subscriber, event_type, handled_at) "
        f"VALUES (%s, %s, %s, {now_sql(connection)})"
    )
    id = event.id if native else event.id.hex
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql, [id, subscriber.name, event.type])
    except IntegrityError as error:
        raise _AlreadyHandled from error
    except DataError:
        raise  # What the database cannot hold comes from the event.
    except Error as error:
        # Ours, and right: the server is read-only since a failover, say, or full.
        raise DatabaseGone(str(error)) from error


def _let_atomic_commit(connection: BaseDatabaseWrapper) -> None:
    # A project may have switched autocommit off, and a connection that was lost at the
    # wrong moment is left like that: atomic() then leaves the COMMIT to somebody else.
    if not connection.in_atomic_block and not connection.get_autocommit():
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
