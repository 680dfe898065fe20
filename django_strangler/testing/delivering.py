"""Deliveries inside a test, as bad as a broker and a crash can make them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from django.db import transaction

from django_strangler.events import Event
from django_strangler.exceptions import InvalidSubscriber
from django_strangler.inbox.handling import handle, inbox_alias
from django_strangler.inbox.subscribers import Subscriber, registry


def deliver(
    events: Iterable[Event],
    *,
    to: str = "",
    times: int = 1,
    crash: Literal["", "before commit", "before ack"] = "",
) -> int:
    """
    Hand events to this process's subscribers; says how often one was called.

    In the order given, which need not be that of publishing, and each as many times as
    a broker might. Those whose flag is off get nothing; ``to`` names a single one. What
    a subscriber raises is raised here.

    With ``crash``, the consumer dies at its worst moment and the event comes again:
    "before commit", when the subscriber has returned and nothing is committed, so that
    only what is outside the database has happened; or "before ack", when all is
    committed, and the broker has not been told.
    """
    if to and to not in {each.name for each in registry.all()}:
        raise InvalidSubscriber(f"There is no subscriber {to!r}. Correct the name.")
    if crash not in ("", "before commit", "before ack"):
        raise ValueError(f'crash is {crash!r}. Pass "before commit" or "before ack".')
    calls = 0
    for event in events:
        for subscriber in registry.bound_to(event.type):
            if to not in ("", subscriber.name) or not subscriber.wants(event.headers):
                continue
            if crash == "before commit":
                calls += _dies_before_commit(subscriber, event)
            for _ in range(times + (crash == "before ack")):
                calls += handle(subscriber, event)
    return calls


class _Died(Exception):
    """The process is gone, and its transaction with it."""


def _dies_before_commit(subscriber: Subscriber, event: Event) -> bool:
    try:
        with transaction.atomic(using=inbox_alias()):
            if handle(subscriber, event):
                raise _Died
    except _Died:
        return True
    return False
