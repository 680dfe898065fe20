"""From a dataclass's annotations to its schema, and from JSON to an instance."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Union, get_args, get_origin

from django.utils.dateparse import parse_duration

from .exceptions import InvalidContract
from .marks import Keywords, open_enum

# Ours, not a library's: a snapshot must not change when a library is upgraded. They say
# what django_strangler.outbox.encoding writes.
DECIMAL = r"^-?[0-9]+(\.[0-9]+)?(E[+-]?[0-9]+)?$"
TIME = r"^[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?([+-][0-9]{2}:[0-9]{2})?$"
DURATION = r"^-?P[0-9]+DT[0-9]{2}H[0-9]{2}M[0-9]{2}(\.[0-9]{6})?S$"


# Formats that JSON Schema has no name for.
_PATTERNS = {DECIMAL: "decimal", TIME: "time", DURATION: "duration"}


def format_of(schema: Mapping[str, Any]) -> str | None:
    """What a text holds by its type: ``date-time``, ``decimal``."""
    found: str | None = schema.get("format")
    return found or _PATTERNS.get(schema.get("pattern", ""))


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """How one type looks in JSON, and how it is read from there."""

    schema: dict[str, Any]
    load: Callable[[Any], Any] = lambda value: value


def part_of(cls: type) -> Part:
    """A dataclass's schema; raises ``InvalidContract`` for what JSON cannot hold."""
    return _dataclass(cls, cls.__name__, ())


def _moment(text: str) -> datetime:
    # Python 3.10 does not know Z.
    return datetime.fromisoformat(text.upper().replace("Z", "+00:00"))


def _duration(text: str) -> timedelta:
    value = parse_duration(text)
    assert value is not None  # The pattern has been checked.
    return value


def _text(**keywords: Any) -> dict[str, Any]:
    return {"type": "string", **keywords}


_PLAIN: dict[Any, Part] = {
    str: Part({"type": "string"}),
    bool: Part({"type": "boolean"}),
    int: Part({"type": "integer"}, int),
    float: Part({"type": "number"}, float),
    Decimal: Part(_text(pattern=DECIMAL), Decimal),
    datetime: Part(_text(format="date-time"), _moment),
    date: Part(_text(format="date"), date.fromisoformat),
    time: Part(_text(pattern=TIME), time.fromisoformat),
    timedelta: Part(_text(pattern=DURATION), _duration),
    uuid.UUID: Part(_text(format="uuid"), uuid.UUID),
}
_TYPES = (
    "str, bool, int, float, Decimal, datetime, date, time, timedelta, UUID, an Enum of "
    "texts or numbers, list[…], tuple[…, ...], dict[str, …], a dataclass, or one of "
    "these | None"
)


def _part(annotation: Any, where: str, outer: tuple[type, ...]) -> Part:
    marks: tuple[Any, ...] = ()
    if get_origin(annotation) is Annotated:
        annotation, *given = get_args(annotation)
        marks = tuple(given)
    part = _bare(annotation, where, outer, is_open=open_enum in marks)
    schema = dict(part.schema)
    if open_enum in marks and "examples" not in schema:
        raise InvalidContract(f"{where} is not an Enum, so open_enum does not apply.")
    for mark in marks:
        if isinstance(mark, str):
            schema["description"] = mark
        elif isinstance(mark, Keywords):
            schema |= _fitting(mark, schema, where)
    return Part(schema, part.load)


_OF_TYPE = {"minimum": ("integer", "number"), "maximum": ("integer", "number")}


def _fitting(mark: Keywords, schema: dict[str, Any], where: str) -> dict[str, Any]:
    allowed = schema.get("type", [])
    for name in mark.schema:
        wanted = _OF_TYPE.get(name, ("string",))
        if name != "x-unit" and not {*wanted} & {
            *([allowed] if isinstance(allowed, str) else allowed)
        }:
            raise InvalidContract(f"{where} is not a {wanted[0]}: limits() do not fit.")
        if allowed == "integer" and isinstance(mark.schema[name], float):
            raise InvalidContract(f"{where} is whole, so its limits must be too.")
        if name == "pattern" and ("pattern" in schema or "format" in schema):
            raise InvalidContract(
                f"{where} already has a pattern by its type. Leave yours out."
            )
    return mark.schema


def _bare(
    annotation: Any, where: str, outer: tuple[type, ...], *, is_open: bool
) -> Part:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        others = [each for each in arguments if each is not types.NoneType]
        if len(others) == 1 and len(arguments) == 2:
            inner = _part(others[0], where, outer)
            if is_open:
                inner = _bare(others[0], where, outer, is_open=True)
            return _nullable(inner)
    elif annotation in _PLAIN:
        return _PLAIN[annotation]
    elif origin in (list, tuple):
        if origin is list or arguments[1:] == (...,):
            return _array(_part(arguments[0], f"{where}[]", outer), origin)
    elif origin in (dict, Mapping) and arguments[0] is str:
        return _map(_part(arguments[1], f"{where}{{}}", outer))
    elif isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _enum(annotation, where, is_open)
    elif isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return _dataclass(annotation, where, outer)
    name = getattr(annotation, "__name__", None) if origin is None else None
    raise InvalidContract(
        f"{where} is {name or annotation!s}, which no contract can hold. Use {_TYPES}."
    )


def _nullable(part: Part) -> Part:
    schema = dict(part.schema)
    schema["type"] = [schema["type"], "null"]
    if "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    return Part(schema, lambda value: None if value is None else part.load(value))


def _array(inner: Part, kind: Callable[[Any], Any]) -> Part:
    return Part(
        {"type": "array", "items": inner.schema},
        lambda value: kind(inner.load(each) for each in value),
    )


def _map(inner: Part) -> Part:
    return Part(
        {"type": "object", "additionalProperties": inner.schema},
        lambda value: {name: inner.load(each) for name, each in value.items()},
    )


def _enum(cls: type[enum.Enum], where: str, is_open: bool) -> Part:
    values = [each.value for each in cls]
    kinds = {type(value) for value in values}
    if kinds not in ({str}, {int}):
        raise InvalidContract(
            f"{where} is the enum {cls.__name__}, whose values are not all texts or "
            "all whole numbers. Make them so."
        )
    name = "string" if kinds == {str} else "integer"
    if not is_open:
        return Part({"type": name, "enum": values}, cls)

    def load(value: Any) -> Any:
        # One that this reader does not know yet stays as it came.
        return cls(value) if value in values else value

    return Part({"type": name, "examples": values}, load)


def _dataclass(cls: type, where: str, outer: tuple[type, ...]) -> Part:
    if cls in outer:
        raise InvalidContract(f"{where} contains itself. Publish ids instead.")
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise InvalidContract(
            f"An annotation of {cls.__name__} cannot be resolved: {error}. Import it "
            "outside of TYPE_CHECKING, and declare the class at module level."
        ) from error
    fields = dataclasses.fields(cls)
    if hidden := [each.name for each in fields if not each.init]:
        raise InvalidContract(
            f"{where}.{hidden[0]} has init=False: nobody can read it."
        )
    parts = {
        each.name: _part(hints[each.name], f"{where}.{each.name}", (*outer, cls))
        for each in fields
    }
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: part.schema for name, part in parts.items()},
    }
    required = [
        each.name
        for each in fields
        if each.default is dataclasses.MISSING
        and each.default_factory is dataclasses.MISSING
    ]
    if required:
        schema["required"] = required
    # dataclass() writes a docstring of its own, which repeats the fields.
    if cls.__doc__ and not cls.__doc__.startswith(f"{cls.__name__}("):
        schema["description"] = " ".join(cls.__doc__.split())

    def load(value: dict[str, Any]) -> Any:
        return cls(
            **{name: parts[name].load(value[name]) for name in parts if name in value}
        )

    return Part(schema, load)
