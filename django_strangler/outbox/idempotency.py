"""
Idempotency keys: which event a key stands for.

The event's id is random. If it were made of the key, a person who guesses ``charge-42``
could publish under that id first, and every inbox would take the real event for a
repetition; and a key that is used again years later would bring back an old id.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.crypto import salted_hmac

from django_strangler.clock import DatabaseNow, aware
from django_strangler.databases import fetch
from django_strangler.events import Event
from django_strangler.exceptions import IdempotencyConflict, InvalidEvent, shown

from . import insertion
from .encoding import canonical
from .insertion import Row
from .models import IdempotencyKey

BATCH = 1000
_SALT = "django_strangler.idempotency"


class Key(NamedTuple):
    """A key as the table has it, under each of the project's secrets."""

    text: str
    digests: tuple[UUID, ...]  # The newest secret's first.
    contents: tuple[UUID, ...]

    @classmethod
    def of(cls, text: str, row: Row | None = None) -> Key:
        """The key, and what it is used for."""
        data = text.encode("utf-8", "surrogatepass")
        content: tuple[UUID, ...] = ()
        if row is not None:
            said = "\0".join((row.type, row.key, canonical(row.body)))
            content = tuple(_hashed("content", said.encode()))
        return cls(text, tuple(_hashed("key", data)), content)


def check(text: object) -> None:
    """Raise ``InvalidEvent`` for what is not a key."""
    if not isinstance(text, str) or not text:
        raise InvalidEvent(
            f"The idempotency key {shown(text)} is not a text, or is empty."
        )


def claim(connection: BaseDatabaseWrapper, key: Key, event_id: UUID) -> None:
    """
    Write down that the key stands for this event; IntegrityError if it has been used.

    Under each secret: while one is being replaced, processes that know only the former
    must find the key as well.
    """
    quote = connection.ops.quote_name
    native = connection.features.has_native_uuid_field
    rows = list(zip(key.digests, key.contents, strict=True))
    params: list[Any] = []
    for digest, content in rows:
        params += [id if native else id.hex for id in (digest, event_id, content)]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {quote(_TABLE)} (digest, event_id, content) "
            f"VALUES {', '.join(['(%s, %s, %s)'] * len(rows))}",
            params,
        )


def first_event(connection: BaseDatabaseWrapper, key: Key, row: Row) -> Event | None:
    """The event that the key stands for; ``IdempotencyConflict`` if it is another."""
    found = _first_event(connection, key, row)
    if found is not None:
        return found
    # What another transaction committed after this one's snapshot was taken. Under
    # REPEATABLE READ this transaction cannot see it. A locking read could, on MariaDB,
    # where two of them deadlock; a connection of its own can everywhere.
    other = connection.copy()
    try:
        return _first_event(other, key, row)
    finally:
        other.close()


def find(connection: BaseDatabaseWrapper, key: Key) -> UUID | None:
    """The id of the event that the key stands for."""
    found = _look_up(connection, key)
    return found[0] if found else None


def forget(event_id: UUID, *, using: str) -> int:
    """Let the key of this event be used again."""
    rows = IdempotencyKey.objects.using(using).filter(event_id=event_id)
    return int(rows.delete()[0])


def prune(alias: str, *, older_than: float, batch: int = BATCH) -> Iterator[int]:
    """Delete old keys in small batches; yields how many after each."""
    rows = IdempotencyKey.objects.using(alias)
    old = rows.filter(created_at__lt=DatabaseNow(-older_than)).order_by("created_at")
    while digests := list(old.values_list("digest", flat=True)[:batch]):
        yield rows.filter(digest__in=digests).delete()[0]
        if len(digests) < batch:
            return


def _first_event(connection: BaseDatabaseWrapper, key: Key, row: Row) -> Event | None:
    found = _look_up(connection, key)
    if found is None:
        return None
    event_id, content, created_at = found
    if content not in key.contents:
        raise IdempotencyConflict(
            f"The idempotency key {shown(key.text)} already stands for an event of "
            f"another type, key or payload: {event_id}. Use one key for one thing that "
            "happened."
        )
    kept = insertion.find(connection, event_id)
    if kept is not None:
        return kept[0].as_event(kept[1])
    # Confirmed and deleted: all but its headers and correlation id is known.
    return row._replace(event_id=event_id).as_event(created_at)


def _look_up(
    connection: BaseDatabaseWrapper, key: Key
) -> tuple[UUID, UUID, datetime | None] | None:
    marks = ", ".join(["%s"] * len(key.digests))
    rows = fetch(
        connection,
        f"SELECT event_id, content, created_at FROM "
        f"{connection.ops.quote_name(_TABLE)} WHERE digest IN ({marks})",
        [each.hex for each in key.digests],
    )
    if not rows:
        return None
    event_id, content, created_at = rows[0]
    return (
        UUID(str(event_id)),
        UUID(str(content)),
        aware(created_at, connections[connection.alias]),
    )


def _hashed(what: str, data: bytes) -> Iterator[UUID]:
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        mac = salted_hmac(f"{_SALT}.{what}", data, secret=secret, algorithm="sha256")
        # Marked as a UUID of version 4: MariaDB takes not every 128 bits for one, and
        # refuses some of version 8.
        yield UUID(bytes=mac.digest()[:16], version=4)


_TABLE = IdempotencyKey._meta.db_table
