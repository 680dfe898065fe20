"""Cancelling: a delayed event is taken back before its time."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from uuid import UUID

from django.db import connections, router, transaction

from django_strangler.exceptions import InvalidEvent, shown

from . import idempotency
from .models import OutboxEvent

logger = logging.getLogger("django_strangler.outbox")


def cancel_event(
    id: UUID | str | None = None,
    *,
    idempotency_key: str | None = None,
    using: str | None = None,
) -> bool:
    """
    Take back a delayed event, named by its id or by its idempotency key.

    Says whether there was one that is not due yet: it is never sent, provided that the
    transaction which is open now commits before the event would have been due. Its
    idempotency key can be used again.
    """
    if (id is None) == (idempotency_key is None):
        raise InvalidEvent(
            "cancel_event() takes the id of an event, or its idempotency_key."
        )
    alias = using or router.db_for_write(OutboxEvent)
    if idempotency_key is not None:
        idempotency.check(idempotency_key)
        key = idempotency.Key.of(idempotency_key)
        event_id = idempotency.find(connections[alias], key)
        if event_id is None:
            return False
    else:
        event_id = _uuid(id)
    if not _take_back(event_id, alias):
        return False
    logger.info("The delayed event %s was cancelled.", event_id)
    return True


def cancel_rows(rows: Iterable[int], *, using: str) -> int:
    """Take back those of these rows that are delayed; says how many were."""
    delayed = OutboxEvent.objects.using(using).delayed().filter(pk__in=list(rows))
    ids = list(delayed.values_list("event_id", flat=True))
    return sum(cancel_event(each, using=using) for each in ids)


def _take_back(event_id: UUID, alias: str) -> bool:
    with transaction.atomic(using=alias):
        # One statement decides; a relay never reads a row before its time.
        rows = OutboxEvent.objects.using(alias).delayed().filter(event_id=event_id)
        if not rows.delete()[0]:
            return False
        idempotency.forget(event_id, using=alias)
    return True


def _uuid(id: UUID | str | None) -> UUID:
    try:
        return id if isinstance(id, UUID) else UUID(id)
    except (ValueError, TypeError, AttributeError):
        raise InvalidEvent(f"The event's id {shown(id)} is not a UUID.") from None
