"""Publishing: checks first, then one INSERT in the caller's transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings as django_settings
from django.db import IntegrityError, connections, models, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone
from django.utils.connection import ConnectionDoesNotExist

from django_strangler import conf, tracing
from django_strangler.clock import DatabaseNow
from django_strangler.events import JSON, Event, Header, Key
from django_strangler.exceptions import (
    IdempotencyConflict,
    InvalidEvent,
    OutboxUnavailable,
    OutsideTransaction,
)

from . import rules
from .encoding import encode
from .lanes import lane_of
from .models import OutboxEvent
from .transactions import application_transaction_is_open
from .wakeup import wake_relays_after_commit

ROWS_PER_INSERT = 500


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
    row = OutboxEvent(
        type=rules.check_type(type),
        key=rules.check_key(key),
        body=encode(payload, limit=settings.max_payload_bytes),
        headers={
            **rules.check_headers(headers),
            **rules.flag_headers(flags),
            **tracing.capture(),
        },
        correlation_id=rules.check_correlation_id(correlation_id),
        available_at=_available_at(rules.check_delay(delay)),
    )
    if idempotency_key is not None:
        row.event_id = _digest(idempotency_key)
    instance = key if isinstance(key, models.Model) else None
    connection = _connection(using, instance)
    _check_transaction(connection, type, settings)
    _complete(row)
    if idempotency_key is not None:
        return _insert_once(row, connection, idempotency_key)
    row.save(using=connection.alias, force_insert=True)
    wake_relays_after_commit(connection)
    return row.as_event()


def publish_events(events: Iterable[Event], *, using: str | None = None) -> list[Event]:
    """
    Write many events to the outbox: one INSERT per few hundred.

    All of them are checked before the first is written. For idempotency keys, delays
    and flags call ``publish_event``.
    """
    settings = conf.current()
    context = tracing.capture()
    rows = []
    for event in events:
        if not isinstance(event, Event):
            raise InvalidEvent(
                f"publish_events() takes Event values, not {event.__class__.__name__}. "
                "Build them with django_strangler.events.Event(type=…, payload=…)."
            )
        row = OutboxEvent(
            event_id=event.id,
            type=rules.check_type(event.type),
            key=rules.check_key(event.key),
            body=encode(event.payload, limit=settings.max_payload_bytes),
            headers={**rules.check_headers(event.headers), **context},
            correlation_id=rules.check_correlation_id(event.correlation_id),
        )
        _complete(row)
        rows.append(row)
    if len({row.event_id for row in rows}) < len(rows):
        raise InvalidEvent(
            "publish_events() was given the same event, or the same id, twice. Build "
            "one Event per thing that happened."
        )
    if not rows:
        return []
    connection = _connection(using, None)
    _check_transaction(connection, rows[0].type, settings)
    OutboxEvent.objects.using(connection.alias).bulk_create(
        rows, batch_size=ROWS_PER_INSERT
    )
    wake_relays_after_commit(connection)
    return [row.as_event() for row in rows]


def _complete(row: OutboxEvent) -> None:
    row.lane = lane_of(row.key)
    row.size = len(row.body)
    row.published_at = DatabaseNow()


def _available_at(delay: float | datetime | None) -> DatabaseNow | datetime | None:
    if isinstance(delay, datetime):
        # A project without USE_TZ keeps local times.
        return delay if django_settings.USE_TZ else timezone.make_naive(delay)
    return None if delay is None else DatabaseNow(delay)


def _digest(idempotency_key: str) -> UUID:
    """
    The event's id, made of the key.

    The unique id is then what keeps a key from being used twice, byte-exact whatever the
    database's collation, without a column or an index of its own.
    """
    if not isinstance(idempotency_key, str) or not idempotency_key:
        raise InvalidEvent(
            f"The idempotency key {idempotency_key!r:.80} is not a text, or is empty."
        )
    data = idempotency_key.encode("utf-8", "surrogatepass")
    digest = hashlib.sha256(b"django-strangler:" + data).digest()
    value = int.from_bytes(digest[:16], "big")
    value = value & ~(0xF << 76) | 0x8 << 76  # Version 8: made by the application.
    return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)


def _insert_once(
    row: OutboxEvent, connection: BaseDatabaseWrapper, idempotency_key: str
) -> Event:
    body, event_type, key = row.body, row.type, row.key
    try:
        # A savepoint: the INSERT may fail, and the caller's transaction goes on.
        with transaction.atomic(using=connection.alias):
            row.save(using=connection.alias, force_insert=True)
    except IntegrityError:
        first = _find_first(row.event_id, connection)
        if first is None:
            raise IdempotencyConflict(
                f"The idempotency key {idempotency_key!r:.80} was used by a transaction "
                "that this one's snapshot cannot see. Run this transaction again."
            ) from None
        if (first.body, first.type, first.key) != (body, event_type, key):
            raise IdempotencyConflict(
                f"The idempotency key {idempotency_key!r:.80} already stands for another "
                f"event ({first}). Use one key for one thing that happened."
            ) from None
        return first.as_event()
    wake_relays_after_commit(connection)
    return row.as_event()


def _find_first(event_id: UUID, connection: BaseDatabaseWrapper) -> OutboxEvent | None:
    rows = OutboxEvent.objects.using(connection.alias).filter(event_id=event_id)
    if connection.vendor == "mysql":
        # Under REPEATABLE READ only a locking read sees what the INSERT ran into.
        rows = rows.select_for_update()
    return rows.first()


def _connection(using: str | None, instance: models.Model | None) -> BaseDatabaseWrapper:
    if using is None:
        hints = {} if instance is None else {"instance": instance}
        using = router.db_for_write(OutboxEvent, **hints)
    try:
        connection = connections[using]
    except ConnectionDoesNotExist:
        raise OutboxUnavailable(
            f"There is no database {using!r} in DATABASES. Pass using= one of: "
            f"{', '.join(connections)}."
        ) from None
    _check_table(connection)
    return connection


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
    connection.ensure_connection()
    raw = connection.connection.cursor()
    try:
        tables = {info.name for info in connection.introspection.get_table_list(raw)}
    finally:
        raw.close()
    if OutboxEvent._meta.db_table not in tables:
        raise OutboxUnavailable(
            f"The database {connection.alias!r} has no table "
            f"{OutboxEvent._meta.db_table!r}. Run: manage.py migrate strangler "
            f"--database {connection.alias}. Or pass using= the database that has it."
        )
    _with_table.add(known)


def _check_transaction(
    connection: BaseDatabaseWrapper, type: str, settings: conf.Settings
) -> None:
    if settings.require_transaction and not application_transaction_is_open(connection):
        raise OutsideTransaction(
            f"{type!r} was published with no transaction open on {connection.alias!r}. "
            "Wrap the change and the event in transaction.atomic(), or set "
            "ATOMIC_REQUESTS."
        )
