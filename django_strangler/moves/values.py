"""Values: how a row of one kind of database becomes one of another."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any, TypeAlias
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper

from django_strangler.clock import aware, stored

from .sides import Column

Convert: TypeAlias = Callable[[Any], Any]
_NUMBERS = ("bool", "int", "decimal", "float")


def family(one: Column, other: Column) -> str:
    """What both columns hold: the stricter of the two, as "uuid" of uuid and text."""
    families = {one.family, other.family}
    if len(families) == 1 or "other" in families:
        return "other" if "other" in families else families.pop()
    looser = families & {"text", "int"}
    if families <= set(_NUMBERS) and "bool" not in families:
        return "number"
    return (families - looser).pop() if len(families - looser) == 1 else "other"


def fits(one: Column, other: Column) -> bool:
    """Whether values of the one can be those of the other."""
    if one.family == other.family or "other" in (one.family, other.family):
        return True
    return family(one, other) != "other" and {one.family, other.family} not in (
        {"text", "int"},
        {"text", "decimal"},
        {"text", "float"},
        {"text", "bool"},
        {"int", "datetime"},
    )


def loading(connection: BaseDatabaseWrapper, family: str) -> list[Convert]:
    """From what the driver gives to what Django would; often it is that already."""
    if family == "datetime" and connection.vendor != "postgresql":
        return [lambda value: aware(value, connection)]
    if family == "decimal" and connection.vendor == "sqlite":
        return [lambda value: Decimal(str(value))]
    return [_LOAD[family]] if family in _LOAD else []


def dumping(
    connection: BaseDatabaseWrapper, family: str, column: Column
) -> list[Convert]:
    """From what Django would have to what the driver takes."""
    if family == "datetime" and connection.vendor != "postgresql":
        return [lambda value: stored(value, connection) if value.tzinfo else str(value)]
    if family in ("decimal", "date", "time") and connection.vendor == "sqlite":
        return [str]
    if family == "uuid" and connection.vendor != "postgresql":
        return [(lambda value: value.hex) if column.family == "text" else str]
    if family == "json":
        return [lambda value: json.dumps(value, ensure_ascii=False)]
    if family == "interval" and column.family == "int":
        return [lambda value: value // timedelta(microseconds=1)]
    return [int] if family == "bool" and column.family == "int" else []


def alike(one: Any, other: Any) -> bool:
    """Whether two values are the same; a NaN is like itself."""
    return bool(one == other or (one != one and other != other))


def _time(value: Any) -> Any:
    if isinstance(value, timedelta):  # MariaDB's drivers.
        return (datetime(1, 1, 1, tzinfo=timezone.utc) + value).time()
    return time.fromisoformat(value) if isinstance(value, str) else value


def _interval(value: Any) -> Any:
    return timedelta(microseconds=value) if isinstance(value, int) else value


def _uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


def _date(value: Any) -> Any:
    return date.fromisoformat(value) if isinstance(value, str) else value


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


_LOAD: Mapping[str, Convert] = MappingProxyType(
    {
        "bool": bool,
        "bytes": bytes,
        "date": _date,
        "interval": _interval,
        "json": _json,
        "time": _time,
        "uuid": _uuid,
    }
)
