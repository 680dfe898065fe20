"""What a change would strand: waiting events, dead letters, and who is bound."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from django.db import Error, router
from django.db.models import QuerySet

from django_strangler import conf
from django_strangler.brokers import broker_class, dead_letters
from django_strangler.brokers.patterns import matches
from django_strangler.events import Event, new_id
from django_strangler.exceptions import StranglerError
from django_strangler.inbox.dead_letters import LetterSelection, letters
from django_strangler.models import ConsumerProcess, OutboxEvent

from .fitting import misfit
from .needs import Need

MOST = 1_000  # Of each kind, the newest, are tried; all are counted.


def stranded(
    type: str, needs: list[Need], alias: str, management: str
) -> Iterator[str]:
    """Sentences about the events of a type that are on their way now."""
    try:
        yield from _rows(type, needs, alias)
        queues = {*_consumers().values_list("queue", flat=True)}
    except Error as error:
        yield f"the outbox cannot be looked at: {error}".strip()
        return
    try:
        yield from _letters(type, needs, queues)
        yield from _bound(type, management)
    except StranglerError as error:
        yield f"the broker cannot be looked at: {error}"


def _consumers() -> QuerySet[ConsumerProcess]:
    return ConsumerProcess.objects.using(router.db_for_write(ConsumerProcess))


def _rows(type: str, needs: list[Need], alias: str) -> Iterator[str]:
    rows = OutboxEvent.objects.using(alias).filter(type=type)
    for state, some in (("pending", rows.pending()), ("parked", rows.parked())):
        if count := some.count():
            newest = [row.as_event() for row in some.order_by("-id")[:MOST]]
            yield f"{count} {state} in the outbox{_unread(newest, needs)}"


def _letters(type: str, needs: list[Need], queues: set[str]) -> Iterator[str]:
    settings = conf.current()
    if broker_class(settings.broker_url).dead_letters is None:
        return
    for name in sorted(queues):
        with closing(dead_letters(settings, name)) as queue:
            found = [
                _event(type, each.delivery)
                for each in letters(queue, LetterSelection(type=type))
            ]
        if found:
            unread = _unread(found[:MOST], needs)
            yield f"{len(found)} in the dead letters of {name}{unread}"


def _bound(type: str, management: str) -> Iterator[str]:
    settings = conf.current()
    found = broker_class(settings.broker_url).bindings(settings, management)
    if queues := sorted({queue for queue, each in found if matches(each, type)}):
        yield f"bound for it now: {', '.join(queues)}"


def _event(type: str, delivery: Any) -> Event:
    try:
        payload = json.loads(delivery.body)
    except (ValueError, RecursionError):
        payload = None  # Which nobody can read.
    return Event(type=type, payload=payload, headers=delivery.headers, id=new_id())


def _unread(events: list[Event], needs: list[Need]) -> str:
    told = []
    for need in needs:
        count = sum(1 for each in events if _is_unread(each, need))
        if count:
            told.append(f"{need.reader} cannot read {count}")
    of = f" of the newest {MOST}" if told and len(events) == MOST else ""
    return f": {', '.join(told)}{of}" if told else ", which all known readers can read"


def _is_unread(event: Event, need: Need) -> bool:
    try:
        payload = need.contract.upcasted(event) if need.contract else event.payload
    except Exception:  # noqa: BLE001  An upcaster that fails reads nothing.
        return True
    return misfit(need.schema, payload) is not None
