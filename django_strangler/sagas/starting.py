"""``start_saga``: the row and the first command, in the caller's transaction."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from uuid import uuid4

from django.db import connections, router

from django_strangler.clock import DatabaseNow
from django_strangler.databases import claim_once
from django_strangler.events import Key
from django_strangler.outbox.rules import check_key

from . import moving, rules
from .conf import settings
from .definitions import registry
from .exceptions import InvalidSaga
from .models import SagaRun


def start_saga(
    name: str,
    *,
    correlation: Key,
    data: dict[str, Any] | None = None,
    using: str | None = None,
) -> SagaRun:
    """
    Start a saga, in the transaction that is open now; or find the one that was started.

    ``correlation`` says what it is about, as an event's key does: a second start for
    the same thing returns the first saga, also once that has ended. ``data`` travels to
    each step; let it hold ids rather than whole objects.
    """
    cls = registry.newest(name)
    about = check_key(correlation)
    if not about:
        raise InvalidSaga(
            f"The saga {name!r} was started about nothing. Pass what it is about as "
            "correlation=: an order, or its id."
        )
    alias = using or str(router.db_for_write(SagaRun))
    connection = connections[alias]
    place = rules.begin(cls.steps).place
    digest = hashlib.sha256(f"{name}\x1f{about}".encode()).hexdigest()
    is_new = claim_once(
        connection,
        SagaRun._meta.db_table,
        values={
            "saga_id": uuid4(),
            "name": name,
            "version": cls.version,
            "correlation": about,
            "digest": digest,
            "state": place.state.value,
            "step": place.step,
            "turn": place.turn,
            "data": check_data(data or {}),
            "started_at": DatabaseNow(),
            "updated_at": DatabaseNow(),
        },
        unique=("digest",),
    )
    # Locked, so that another transaction's row is seen whatever this one's snapshot.
    run = SagaRun.objects.using(alias).select_for_update().get(digest=digest)
    if is_new:
        moving.moves.add(name, "started")
        moving.make(run, rules.begin(cls.steps))
    return run


def check_data(data: Any) -> str:
    """The data as JSON, if it is a small dict."""
    text = json.dumps(data) if isinstance(data, dict) else ""
    if not text or len(text) > settings().max_data:
        raise InvalidSaga(
            f"A saga's data must be a dict of at most {settings().max_data:,} bytes as "
            "JSON. Keep ids in it, and read the rest where it is needed."
        )
    return text
