"""Replicas: a copy of what is captured elsewhere, as new as the last event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from hashlib import blake2b
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db import router, transaction

from django_strangler.events import Event
from django_strangler.inbox.subscribers import subscribe

from .models import Copied


def replica(
    type: Any, model: str, *, name: str, fields: Mapping[str, str] | None = None
) -> None:
    """
    Keep a copy of a captured model's rows in a model of this project.

    ``type`` is a type of event or a class with a contract, as for ``subscribe``, and
    ``name`` the subscriber's. ``fields`` says which field takes what: by default the
    one of that name. Call it in an app's ``subscribers.py``.
    """

    def copy(event: Event) -> None:
        apply(event, model, name, fields)

    subscribe(type, name=name)(copy)


def apply(
    event: Event, model: str, name: str, fields: Mapping[str, str] | None = None
) -> bool:
    """Let the copy be as the event says, unless it knows better; says whether."""
    payload = event.payload if event.data is None else asdict(event.data)
    id, position, row = payload["id"], payload["position"], payload["row"]
    rows = apps.get_model(model)._base_manager
    alias = router.db_for_write(rows.model)
    with transaction.atomic(using=alias):
        # Kept for what is gone as well: an event that comes late brings nothing back.
        known, _ = (
            Copied.objects.using(alias)
            .select_for_update()
            .get_or_create(
                digest=_digest(name, id), defaults={"replica": name, "position": 0}
            )
        )
        if position <= known.position:
            return False
        known.position = position
        known.save(using=alias, update_fields=["position"])
        if row is None:
            rows.using(alias).filter(pk=id).delete()
        else:
            values = {
                field: row[field] if fields is None else row[fields[field]]
                for field in (row if fields is None else fields)
            }
            rows.using(alias).update_or_create(pk=id, defaults=values)
    return True


def _digest(name: str, id: object) -> UUID:
    # Exact, where a collation is not. MariaDB looks at the version.
    digest = blake2b(f"{name}\n{id}".encode(), digest_size=16).digest()
    return UUID(bytes=digest, version=5)
