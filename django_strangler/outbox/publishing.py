"""Publishing: checks first, then one INSERT in the caller's transaction."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import (
    DEFAULT_DB_ALIAS,
    IntegrityError,
    connections,
    models,
    router,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.connection import ConnectionDoesNotExist

from django_strangler import conf, tracing
from django_strangler.events import JSON, Event, Header, Key, new_id
from django_strangler.exceptions import (
    ConfigurationError,
    IdempotencyConflict,
    InvalidEvent,
    OutboxUnavailable,
    OutsideTransaction,
    shown,
)

from . import insertion, rules
from .encoding import encode, same_json
from .insertion import Row
from .lanes import lane_of
from .models import OutboxEvent
from .transactions import application_transaction_is_open
from .wakeup import wake_relays_after_commit


def publish_event(
    type: str,
    payload: JSON,
    *,
    key: Key = None,
    headers: Mapping[str, Header] | None = None,
    flags: Iterable[rules.NamedTruth] = (),
    delay: float | timedelta | datetime | None = None,
    correlation_id: str | None = None,
    idempotency_key: str | None = None,
    using: str | None = None,
) -> Event:
    """
    Write an event to the outbox, in the transaction that is open now.

    It reaches the broker after that transaction commits, or never if it rolls back.
    Events of one ``key`` keep their order; a ``delay``ed event stands outside it. The
    decisions in ``flags`` travel along as headers. The same ``idempotency_key`` again
    returns the first event and writes nothing.
    """
    settings = conf.current()
    row = _row(
        type,
        payload,
        key,
        {
            **rules.check_headers(headers),
            **rules.flag_headers(flags),
            **tracing.capture(),
        },
        correlation_id,
        settings,
    )
    available_at = rules.check_delay(delay)
    if idempotency_key is not None:
        row = row._replace(event_id=_digest(idempotency_key, settings))
    instance = key if isinstance(key, models.Model) else None
    connection = _connection(using, instance)
    _check(connection, row.type, settings)
    if idempotency_key is not None:
        return _insert_once(connection, row, available_at, idempotency_key)
    published_at = insertion.insert(connection, row, available_at)
    wake_relays_after_commit(connection)
    return row.as_event(published_at)


def publish_events(events: Iterable[Event], *, using: str | None = None) -> list[Event]:
    """
    Write many events to the outbox: one INSERT per few hundred.

    All of them are checked before the first is written. For idempotency keys, delays
    and flags call ``publish_event``.
    """
    settings = conf.current()
    context = tracing.capture()
    rows = [_row_of(event, context, settings) for event in events]
    if len({row.event_id for row in rows}) < len(rows):
        raise InvalidEvent(
            "publish_events() was given the same event, or the same id, twice. Build "
            "one Event per thing that happened."
        )
    if not rows:
        return []
    connection = _connection(using, None)
    _check(connection, rows[0].type, settings)
    try:
        # A savepoint: an id may be in the table, and the caller's transaction goes on.
        with transaction.atomic(using=connection.alias):
            times = insertion.insert_many(connection, rows)
    except IntegrityError as error:
        raise InvalidEvent(
            "publish_events() was given an event that had been published before; "
            f"nothing was written. Build a new Event for each publication. ({error})"
        ) from error
    wake_relays_after_commit(connection)
    return [row.as_event(time) for row, time in zip(rows, times, strict=True)]


def _row_of(event: Any, context: dict[str, str], settings: conf.Settings) -> Row:
    if not isinstance(event, Event):
        raise InvalidEvent(
            f"publish_events() takes Event values, not {event.__class__.__name__}. "
            "Build them with django_strangler.events.Event(type=…, payload=…)."
        )
    if not isinstance(event.id, UUID):
        raise InvalidEvent(f"The event's id {shown(event.id)} is not a UUID.")
    return _row(
        event.type,
        event.payload,
        event.key,
        {**rules.check_headers(event.headers), **context},
        event.correlation_id,
        settings,
    )._replace(event_id=event.id)


def _row(
    type: str,
    payload: JSON,
    key: Key,
    headers: dict[str, Header],
    correlation_id: str | None,
    settings: conf.Settings,
) -> Row:
    checked_type = rules.check_type(type)
    checked_key = rules.check_key(key)
    body = encode(payload, limit=settings.max_payload_bytes)
    return Row(
        event_id=new_id(),
        type=checked_type,
        key=checked_key,
        lane=lane_of(checked_key),
        body=body,
        size=len(body),
        headers=headers,
        correlation_id=rules.check_correlation_id(correlation_id),
    )


def _digest(idempotency_key: str, settings: conf.Settings) -> UUID:
    """
    The event's id, made of the key.

    The unique id is then what keeps a key from being used twice, byte-exact whatever
    the database's collation, without a column or an index of its own.
    """
    if not isinstance(idempotency_key, str) or not idempotency_key:
        raise InvalidEvent(
            f"The idempotency key {shown(idempotency_key)} is not a text, or is empty."
        )
    if not settings.retention:
        raise ConfigurationError(
            "An idempotency key is remembered while its row exists, and with "
            "STRANGLER['RETENTION'] = 0 a row is deleted once it is confirmed: the key "
            "would be forgotten within milliseconds. Keep rows for as long as a "
            "repetition may come, or publish without the key."
        )
    data = str.encode(idempotency_key, "utf-8", "surrogatepass")
    digest = hashlib.sha256(b"django-strangler:" + data).digest()
    value = int.from_bytes(digest[:16], "big")
    value = value & ~(0xF << 76) | 0x8 << 76  # Version 8: made by the application.
    return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)


def _insert_once(
    connection: BaseDatabaseWrapper,
    row: Row,
    available_at: float | datetime | None,
    idempotency_key: str,
) -> Event:
    # Twice, because the first event's row may go between the INSERT and the look.
    for last_time in (False, True):
        try:
            # A savepoint: the INSERT may fail, and the caller's transaction goes on.
            with transaction.atomic(using=connection.alias):
                published_at = insertion.insert(connection, row, available_at)
        except IntegrityError:
            found = insertion.find(connection, row.event_id)
            found = found or _find_outside(connection, row.event_id)
            if found is not None:
                return _first_event(*found, row, idempotency_key)
            if last_time:
                raise
        else:
            wake_relays_after_commit(connection)
            break
    return row.as_event(published_at)


def _first_event(
    first: Row, published_at: datetime | None, row: Row, idempotency_key: str
) -> Event:
    event = first.as_event(published_at)
    if (first.type, first.key) == (row.type, row.key) and same_json(
        first.body, row.body
    ):
        return event
    raise IdempotencyConflict(
        f"The idempotency key {shown(idempotency_key)} already stands for an event of "
        f"another type, key or payload: {event.type} {event.id}. Use one key for one "
        "thing that happened."
    )


def _find_outside(
    connection: BaseDatabaseWrapper, event_id: UUID
) -> tuple[Row, datetime | None] | None:
    """
    What another transaction committed after this one's snapshot was taken.

    Under REPEATABLE READ this transaction cannot see it. A locking read could, on
    MariaDB, where two of them deadlock; a connection of its own can everywhere.
    """
    other = connection.copy()
    try:
        return insertion.find(other, event_id)
    finally:
        other.close()


def _connection(
    using: str | None, instance: models.Model | None
) -> BaseDatabaseWrapper:
    if using is None:
        hints = {} if instance is None else {"instance": instance}
        using = router.db_for_write(OutboxEvent, **hints)
    try:
        return connections[using]
    except (ConnectionDoesNotExist, TypeError):
        raise OutboxUnavailable(
            f"There is no database {shown(using)} in DATABASES. Pass using= one of: "
            f"{', '.join(connections)}."
        ) from None


def _check(connection: BaseDatabaseWrapper, type: str, settings: conf.Settings) -> None:
    is_open = not settings.require_transaction or application_transaction_is_open(
        connection
    )
    if not is_open and _runs_in_an_event_loop():
        raise OutsideTransaction(
            f"{type!r} was published in async code, where Django has no transactions. "
            "Put the change and the event into one function that is wrapped in "
            "transaction.atomic(), and await sync_to_async(that_function)()."
        )
    _check_table(connection)
    if not is_open:
        raise OutsideTransaction(
            f"{type!r} was published with no transaction open on {connection.alias!r}. "
            f"Wrap the change and the event in {_atomic(connection)}, or set "
            "ATOMIC_REQUESTS."
        )


def _atomic(connection: BaseDatabaseWrapper) -> str:
    using = (
        "" if connection.alias == DEFAULT_DB_ALIAS else f"using={connection.alias!r}"
    )
    return f"transaction.atomic({using})"


def _runs_in_an_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


_with_table: set[tuple[str, str]] = set()


def _check_table(connection: BaseDatabaseWrapper) -> None:
    """
    Find a missing table before an INSERT would break the caller's transaction.

    Asked once per database and process, around Django's cursor: it is no statement of
    the caller's.
    """
    known = (connection.alias, str(connection.settings_dict["NAME"]))
    if known in _with_table:
        return
    # In a transaction that is broken already, Django's own error is the clear one.
    connection.validate_no_broken_transaction()
    connection.ensure_connection()
    with (
        connection.wrap_database_errors,
        closing(connection.connection.cursor()) as raw,
    ):
        tables = {info.name for info in connection.introspection.get_table_list(raw)}
    if OutboxEvent._meta.db_table not in tables:
        raise OutboxUnavailable(
            f"The database {connection.alias!r} has no table "
            f"{OutboxEvent._meta.db_table!r}. Run: manage.py migrate strangler "
            f"--database {connection.alias}. Or pass using= the database that has it."
        )
    _with_table.add(known)
