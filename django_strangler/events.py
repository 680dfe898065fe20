"""Event: one frozen value, the same in the row, on the wire and in the subscriber."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from django.db.models import Model

from django_strangler.exceptions import InvalidKey

JSON: TypeAlias = Any  # What django_strangler.outbox.encoding can turn into JSON.
Key: TypeAlias = "str | Model | None"
Header: TypeAlias = "str | int | bool"


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


UNSET: Any = _Unset()  # For an argument to which None says something.


def new_id() -> UUID:
    """A UUID of version 7: its time comes first, so an index grows at one end."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76  # The version.
    return UUID(int=value & ~(0x3 << 62) | 0x2 << 62)  # The variant.


def key_text(key: Key) -> str:
    """A key as text: a text itself, a saved instance as ``payments.payment:42``."""
    if key is None:
        return ""
    if type(key) is str:
        return key
    if isinstance(key, Model):
        return _instance_text(key)
    try:
        return str.__str__(key)  # A safe string or a choice becomes a plain one.
    except TypeError:
        raise InvalidKey(
            f"A key is a text or a saved model instance, not {type(key).__name__}. "
            "Pass the instance itself, or str(…) of what the event is about."
        ) from None


def _instance_text(instance: Model) -> str:
    if instance.pk is None or instance._state.adding:
        raise InvalidKey(
            f"The {instance._meta.label} given as key is not in the database: "
            "not saved yet, or deleted. Save it first; before you delete it, take its "
            "key with django_strangler.events.key_text(…)."
        )
    meta = instance._meta.concrete_model._meta  # type: ignore[union-attr]
    parts = instance.pk if isinstance(instance.pk, tuple) else (instance.pk,)
    return f"{meta.label_lower}:{','.join(map(str, parts))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Who published an event, and on whose word."""

    name: str
    vouched: bool  # The broker has checked it; otherwise the message only says so.


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """
    Something that happened.

    Build it for ``publish_events``; ``publish_event`` returns it, a subscriber is
    handed it. ``published_at`` is the database's time, aware, known once it is
    published.
    """

    type: str  # Dotted, past tense: "payment.completed".
    payload: JSON
    key: str = ""  # What it is about; events of one key keep their order.
    headers: Mapping[str, Header] = field(default_factory=dict)
    correlation_id: str = ""
    id: UUID = field(default_factory=new_id)
    published_at: datetime | None = None
    source: Publisher | None = None  # Known to a subscriber.
    data: Any = field(default=None, compare=False)  # To a typed one: the payload.

    def __post_init__(self) -> None:
        # Event(key=payment) is as good as publish_event(key=payment).
        if type(self.key) is not str:
            object.__setattr__(self, "key", key_text(self.key))
