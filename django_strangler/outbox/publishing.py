"""Publishing: checks first, then one INSERT in the caller's transaction."""

from __future__ import annotations

import asyncio
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

from django_strangler import conf, context, extending, tracing
from django_strangler.databases import (
    a_test_never_commits,
    application_transaction_is_open,
)
from django_strangler.events import JSON, UNSET, Event, Header, Key, new_id
from django_strangler.exceptions import (
    InvalidEvent,
    OutboxUnavailable,
    OutsideTransaction,
    shown,
)

from . import idempotency, insertion, rules
from .encoding import encode
from .insertion import Row
from .lanes import lane_of
from .models import OutboxEvent
from .notify import wake_relays_after_commit


def publish_event(
    type: object,
    payload: JSON = UNSET,
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
    returns the first event and writes nothing. Instead of type and payload, it takes an
    instance of a class that ``contracts.event`` has decorated.
    """
    if payload is UNSET:
        return _publish_typed(
            type,
            key,
            headers,
            idempotency_key,
            flags=list(flags),
            delay=delay,
            correlation_id=correlation_id,
            using=using,
        )
    settings = conf.current()
    row = _row(
        type,
        payload,
        key,
        {
            **rules.check_headers(headers),
            **rules.flag_headers(flags),
            **tracing.capture(),
            **context.capture(),
        },
        correlation_id,
        settings,
    )
    available_at = rules.check_delay(delay)
    if idempotency_key is not None:
        idempotency.check(idempotency_key)
    instance = key if isinstance(key, models.Model) else None
    connection = _connection(using, instance)
    _check(connection, row.type, settings)
    if idempotency_key is not None:
        return _insert_once(connection, row, available_at, idempotency_key)
    published_at = insertion.insert(connection, row, available_at)
    wake_relays_after_commit(connection, (row.lane,))
    return row.as_event(published_at)


def _publish_typed(
    value: object,
    key: Key,
    headers: Mapping[str, Header] | None,
    idempotency_key: str | None,
    **options: Any,
) -> Event:
    """Publish an instance, and before it what it says to older readers."""
    rows = extending.contract_of(value).rows(value)
    for contract, payload in rows:
        is_older = contract is not rows[-1][0]
        contract.check_key(key)
        published = publish_event(
            contract.type,
            payload,
            key=key,
            headers={**(headers or {}), **contract.headers},
            # One key stands for one event.
            idempotency_key=(
                f"{contract.type} {idempotency_key}"
                if is_older and idempotency_key is not None
                else idempotency_key
            ),
            **options,
        )
    return published


def publish_events(events: Iterable[Event], *, using: str | None = None) -> list[Event]:
    """
    Write many events to the outbox: one INSERT per few hundred.

    All of them are checked before the first is written. For idempotency keys, delays
    and flags call ``publish_event``.
    """
    settings = conf.current()
    carried = {**tracing.capture(), **context.capture()}
    rows = [_row_of(event, carried, settings) for event in events]
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
    wake_relays_after_commit(connection, {row.lane for row in rows})
    return [row.as_event(time) for row, time in zip(rows, times, strict=True)]


def _row_of(event: Any, carried: dict[str, str], settings: conf.Settings) -> Row:
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
        {**rules.check_headers(event.headers), **carried},
        event.correlation_id,
        settings,
    )._replace(event_id=event.id)


def _row(
    type: object,
    payload: JSON,
    key: Key,
    headers: dict[str, Header],
    correlation_id: str | None,
    settings: conf.Settings,
) -> Row:
    checked_type = rules.check_type(type)
    checked_key = rules.check_key(key)
    body = encode(payload, limit=settings.max_payload_bytes)
    row = Row(
        event_id=new_id(),
        type=checked_type,
        key=checked_key,
        lane=lane_of(checked_key),
        body=body,
        size=len(body),
        headers=headers,
        correlation_id=rules.check_correlation_id(correlation_id),
    )
    if extending.validators:
        extending.validate(row.as_event(None))
    return row


def _insert_once(
    connection: BaseDatabaseWrapper,
    row: Row,
    available_at: float | datetime | None,
    idempotency_key: str,
) -> Event:
    key = idempotency.Key.of(idempotency_key, row)
    # Twice, because what used the key first may be pruned between INSERT and look.
    for last_time in (False, True):
        try:
            # A savepoint: the INSERT may fail, and the caller's transaction goes on.
            with transaction.atomic(using=connection.alias):
                idempotency.claim(connection, key, row.event_id)
                published_at = insertion.insert(connection, row, available_at)
        except IntegrityError:
            first = idempotency.first_event(connection, key, row)
            if first is not None:
                return first
            if last_time:
                raise
        else:
            wake_relays_after_commit(connection, (row.lane,))
            break
    return row.as_event(published_at)


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
            + _cure(connection)
        )


def _cure(connection: BaseDatabaseWrapper) -> str:
    others = [
        each.alias
        for each in connections.all(initialized_only=True)
        if each is not connection and application_transaction_is_open(each)
    ]
    if others:
        return (
            f"The one that is open is on {others[0]!r}. Two databases cannot commit "
            "together: keep the outbox in the database of the change. Run manage.py "
            f"migrate strangler --database {others[0]}, and pass using={others[0]!r} "
            "or let DATABASE_ROUTERS send the strangler app there."
        )
    wrap = f"Wrap the change and the event in {_atomic(connection)}"
    if a_test_never_commits(connection):
        return (
            f"{wrap}: the transaction that a TestCase puts around each test does not "
            "count, because production does not have it. Where that is meant, use "
            "django_strangler.testing.autocommit_allowed()."
        )
    return (
        f"{wrap}, or set ATOMIC_REQUESTS. If a receiver of a signal published it, that "
        "signal was sent after the commit: publish where the change is made."
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
    if not _has_table(connection):
        raise OutboxUnavailable(
            f"The database {connection.alias!r} has no table "
            f"{OutboxEvent._meta.db_table!r}. Run: manage.py migrate strangler "
            f"--database {connection.alias}. Or pass using= the database that has it."
        )
    _with_table.add(known)


def _has_table(connection: BaseDatabaseWrapper) -> bool:
    with (
        connection.wrap_database_errors,
        closing(connection.connection.cursor()) as raw,
    ):
        if connection.vendor == "postgresql":
            # By name, as the INSERT will: it may be in any schema of the search path,
            # where the list of tables may be that of one schema.
            table = connection.ops.quote_name(OutboxEvent._meta.db_table)
            raw.execute("SELECT to_regclass(%s)", [table])
            return raw.fetchone()[0] is not None
        tables = connection.introspection.get_table_list(raw)
    return OutboxEvent._meta.db_table in {info.name for info in tables}
