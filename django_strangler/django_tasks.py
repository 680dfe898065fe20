"""The same tasks for the queues of Django itself, which has them from 6.0 on."""

from __future__ import annotations

from django.tasks import task

from django_strangler import pruning
from django_strangler.outbox.relay import drain_once


@task()
def drain_outbox(database: str | None = None) -> int:
    """
    Relay what is due in the lanes that no relay holds; says how many were confirmed.

    Tasks that overlap share the lanes out between them: one that finds none free ends
    at once.
    """
    return drain_once(database)


@task()
def prune_outbox(database: str | None = None) -> int:
    """Delete what is no longer kept, of the apps as well; says how many rows."""
    return pruning.prune(database)
