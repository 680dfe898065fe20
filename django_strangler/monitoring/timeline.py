"""What happened to one event, and to others of its key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from django_strangler.inbox.handling import inbox_alias
from django_strangler.inbox.models import InboxEntry
from django_strangler.outbox.models import OutboxEvent
from django_strangler.printable import times

from .letters import Found

NEAR = 10_000  # Events before and after, among which those of a key are looked for.
SHOWN = 10  # Of these on either side, and of subscribers five times as many.


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One step of an event's way."""

    what: str
    detail: str = ""
    at: datetime | None = None  # None: it was not written down.
    mood: str = ""  # "good" or "bad", where it is either.


def timeline(event: OutboxEvent, dead: Iterable[Found] = ()) -> list[Moment]:
    """From publishing to the subscribers, as far as tables and queues know."""
    return [*_sending(event), *_handling(event), *_failing(dead)]


def _sending(event: OutboxEvent) -> Iterator[Moment]:
    yield Moment(what="published", at=event.published_at)
    if event.available_at:
        yield Moment(what="delayed until", at=event.available_at)
    if event.attempts:
        refused = f"refused {times(event.attempts)}:"
        yield Moment(what=refused, detail=event.last_error, mood="bad")
    if event.state == "confirmed":
        yield Moment(what="confirmed", at=event.confirmed_at, mood="good")
    elif event.state == "parked":
        reason = event.parked_reason
        yield Moment(what="parked:", detail=reason, at=event.parked_at, mood="bad")
    elif event.retry_at:
        yield Moment(what="next attempt", at=event.retry_at)
    else:
        yield Moment(what="pending")


def _handling(event: OutboxEvent) -> Iterator[Moment]:
    entries = InboxEntry.objects.using(inbox_alias()).filter(event_id=event.event_id)
    for entry in sorted(
        entries[: 5 * SHOWN], key=lambda each: (each.handled_at, each.id)
    ):
        yield Moment(
            what="handled by",
            detail=entry.subscriber,
            at=entry.handled_at,
            mood="good",
        )


def _failing(dead: Iterable[Found]) -> Iterator[Moment]:
    for each in dead:
        yield Moment(
            what=f"failed {times(each.times)}, a dead letter of {each.queue}:",
            detail=each.error,
            at=each.last,
            mood="bad",
        )


def of_same_key(event: OutboxEvent) -> list[OutboxEvent]:
    """
    The nearest events of its key, this one among them, the latest first.

    A key has no index: they are looked for among the ``NEAR`` events on either side.
    """
    if not event.key:
        return []
    rows = OutboxEvent.objects.using(event._state.db).defer("body", "headers")
    rows = rows.filter(key=event.key)
    before = rows.filter(Q(id__lte=event.pk) & Q(id__gt=event.pk - NEAR))
    after = rows.filter(Q(id__gt=event.pk) & Q(id__lt=event.pk + NEAR))
    found = [
        *reversed(after.order_by("id")[:SHOWN]),
        *before.order_by("-id")[: SHOWN + 1],
    ]
    # A database's collation may take look-alikes for the key.
    return [each for each in found if each.key == event.key]
