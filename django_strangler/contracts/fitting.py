"""Whether a value fits a schema: the part of JSON Schema that contracts are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, NamedTuple

from django_strangler.exceptions import shown

Schema = Mapping[str, Any]

JSON_TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Misfit(NamedTuple):
    """Where a value does not fit, and why."""

    path: str
    why: str


def types_of(schema: Schema) -> frozenset[str]:
    """The types that it allows."""
    given = schema.get("type", JSON_TYPES)
    return frozenset([given] if isinstance(given, str) else given)


def misfit(schema: Schema, value: Any, *, closed: bool = False) -> Misfit | None:
    """What is wrong with a value; closed, a name that is not declared is as well."""
    if "enum" in schema and not any(_same(value, each) for each in schema["enum"]):
        return Misfit("", f"is {shown(value)}, none of {shown(schema['enum'])}")
    allowed = types_of(schema)
    if not _names(value) & allowed:
        return Misfit(
            "", f"is {shown(value)}, not of type {' or '.join(sorted(allowed))}"
        )
    if isinstance(value, str):
        return _text(schema, value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _number(schema, value)
    if isinstance(value, list):
        return _list(schema, value, closed)
    if isinstance(value, dict):
        return _object(schema, value, closed)
    return None


def _names(value: Any) -> set[str]:
    if value is None:
        return {"null"}
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return {"integer", "number"}
    kinds = {float: "number", str: "string", list: "array", dict: "object"}
    return {kinds[type(value)]} if type(value) in kinds else set()


def _same(one: Any, other: Any) -> bool:
    # To Python, 1 == True.
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _text(schema: Schema, value: str) -> Misfit | None:
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return Misfit("", f"is {shown(value)}, which {schema['pattern']} does not fit")
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 1 << 62):
        return Misfit("", f"has {len(value)} characters, too few or too many")
    check = FORMATS.get(schema.get("format", ""))
    if check is not None and not check(value):
        return Misfit("", f"is {shown(value)}, which is not a {schema['format']}")
    return None


def _number(schema: Schema, value: float) -> Misfit | None:
    if value < schema.get("minimum", value) or value > schema.get("maximum", value):
        return Misfit("", f"is {shown(value)}, outside of its bounds")
    return None


def _list(schema: Schema, value: list[Any], closed: bool) -> Misfit | None:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 1 << 62):
        return Misfit("", f"has {len(value)} items, too few or too many")
    for number, each in enumerate(value):
        if found := misfit(schema.get("items", {}), each, closed=closed):
            return Misfit(f"/{number}{found.path}", found.why)
    return None


def _object(schema: Schema, value: dict[str, Any], closed: bool) -> Misfit | None:
    for name in schema.get("required", ()):
        if name not in value:
            return Misfit(f"/{name}", "is missing")
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    for name, each in value.items():
        inner = known.get(name, others)
        if inner is None and closed:
            return Misfit(f"/{name}", "is not declared")
        if inner and (found := misfit(inner, each, closed=closed)):
            return Misfit(f"/{name}{found.path}", found.why)
    return None


def _is_moment(value: str) -> bool:
    if not _MOMENT.fullmatch(value):
        return False
    return _parses(datetime.fromisoformat, value[:19].upper())


def _is_day(value: str) -> bool:
    return bool(_DAY.fullmatch(value)) and _parses(date.fromisoformat, value)


def _parses(parse: Callable[[str], object], value: str) -> bool:
    try:
        parse(value)
    except ValueError:
        return False
    return True


FORMATS: Mapping[str, Callable[[str], bool]] = {
    "date-time": _is_moment,
    "date": _is_day,
    "uuid": lambda value: bool(_UUID.fullmatch(value)),
}
