"""Arguments of a control on their way to another process, and back."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from django.apps import apps
from django.db.models import Model

_READ: dict[str, Callable[[str], Any]] = {
    "decimal": Decimal,
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
    "uuid": uuid.UUID,
}


class NotPortable(Exception):
    """An argument is neither JSON nor a saved model instance."""


def packed(value: Any) -> Any:
    """The value as JSON; of a model instance, only which one it is."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [packed(each) for each in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"$": "dict", "v": {key: packed(each) for key, each in value.items()}}
    if isinstance(value, Model) and value.pk is not None:
        return {
            "$": "model",
            "v": [value._meta.label_lower, value._state.db, packed(value.pk)],
        }
    if isinstance(value, (datetime.datetime, datetime.date)):
        kind = "datetime" if isinstance(value, datetime.datetime) else "date"
        return {"$": kind, "v": value.isoformat()}
    if isinstance(value, (Decimal, uuid.UUID)):
        return {"$": type(value).__name__.lower(), "v": str(value)}
    raise NotPortable(
        f"A {type(value).__qualname__} cannot be sent to another process. An "
        'experiment with when="later" takes JSON values and saved model instances.'
    )


def unpacked(value: Any) -> Any:
    """What was packed. A model instance is read as it is now."""
    if isinstance(value, list):
        return [unpacked(each) for each in value]
    if not isinstance(value, dict):
        return value
    kind, inner = value["$"], value["v"]
    if kind == "dict":
        return {key: unpacked(each) for key, each in inner.items()}
    if kind == "model":
        label, alias, pk = inner
        model = apps.get_model(label)
        return model._base_manager.using(alias).get(pk=unpacked(pk))
    return _READ[kind](inner)
