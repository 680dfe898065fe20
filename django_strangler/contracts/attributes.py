"""What a CloudEvent says of its contract."""

from __future__ import annotations

from collections.abc import Mapping

from django_strangler.events import Header

from .declare import registry
from .events import VERSION
from .exceptions import CannotJudge
from .snapshots import schema_id


def of(type: str, headers: Mapping[str, Header]) -> Mapping[str, Header]:
    """The attributes ``dataschema`` and, where its end is known, ``deprecated``."""
    try:
        registry.discover()
    except CannotJudge:
        return {}  # The checks say so. A relay sends what there is.
    if type not in registry.events:
        return {}
    version = headers.get(VERSION, 1)
    until = registry.sunset(type)
    ends = {"deprecated": "true", "deprecationsunset": f"{until}T00:00:00Z"}
    return {"dataschema": schema_id(type, version), **(ends if until else {})}
