"""Celery tasks. Safe to schedule every few seconds on every worker."""

from __future__ import annotations

from celery import shared_task
from django.db import connections

from django_strangler import conf
from django_strangler.inbox import retention as inbox_retention
from django_strangler.outbox import retention
from django_strangler.outbox.relay import Relay
from django_strangler.outbox.timeouts import own_connection


@shared_task(ignore_result=True)
def drain_outbox(database: str = "default") -> int:
    """
    Relay what is due in the lanes that nobody holds; says how many were confirmed.

    Tasks that overlap share the lanes out between them: one that finds none free ends
    at once.
    """
    # A worker must not hang with a database that is silent.
    with own_connection(connections[database]):
        return Relay(database, steady=False).drain().confirmed


@shared_task(ignore_result=True)
def prune_outbox(database: str = "default") -> int:
    """Delete what RETENTION and INBOX_RETENTION no longer keep; says how many rows."""
    settings = conf.current()
    events = sum(retention.prune(database, older_than=settings.retention))
    return events + sum(inbox_retention.prune(older_than=settings.inbox_retention))
