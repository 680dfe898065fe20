"""Celery tasks. Safe to schedule every few seconds on every worker."""

from __future__ import annotations

from django_strangler import pruning
from django_strangler.extras import extra
from django_strangler.outbox.relay import drain_once

with extra("celery"):
    from celery import shared_task


@shared_task(ignore_result=True)
def drain_outbox(database: str | None = None) -> int:
    """
    Relay what is due in the lanes that no relay holds; says how many were confirmed.

    Tasks that overlap share the lanes out between them: one that finds none free ends
    at once.
    """
    return drain_once(database)


@shared_task(ignore_result=True)
def prune_outbox(database: str | None = None) -> int:
    """Delete what is no longer kept, of the apps as well; says how many rows."""
    return pruning.prune(database)
