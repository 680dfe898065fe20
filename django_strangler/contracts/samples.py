"""Samples: a payload that a schema allows."""

from __future__ import annotations

from typing import Any

from .fitting import Schema, misfit, types_of

NOTHING: Any = object()
_TEXTS = {
    "date-time": "2030-01-07T09:00:00.000000Z",
    "date": "2030-01-07",
    "uuid": "0197b1a4-3c00-7000-8000-000000000001",
}
# Of the patterns that types have.
_OF_PATTERN = ("12.50", "09:00:00", "P0DT00H00M01S")


def sample_of(schema: Schema, *, full: bool = False) -> Any:
    """A small value that fits; ``full`` has what is optional as well."""
    for examples in (schema.get("examples"), schema.get("enum")):
        if examples:
            return examples[0]
    kinds = types_of(schema)
    for kind in ("object", "array", "string", "integer", "number", "boolean"):
        if kind in kinds:
            return _SAMPLES[kind](schema, full)
    return None


def _object(schema: Schema, full: bool) -> dict[str, Any]:
    inner = schema.get("properties", {})
    names = inner if full else schema.get("required", ())
    return {name: sample_of(inner.get(name, {}), full=full) for name in names}


def _array(schema: Schema, full: bool) -> list[Any]:
    count = schema.get("minItems", 1 if full else 0)
    return [sample_of(schema.get("items", {}), full=full)] * count


def _string(schema: Schema, full: bool) -> str:
    if "format" in schema or "pattern" in schema:
        for text in (_TEXTS.get(schema.get("format", ""), ""), *_OF_PATTERN):
            if misfit(schema, text) is None:
                return text
    return "text"[: schema.get("maxLength")].ljust(schema.get("minLength", 0), "t")


def _number(schema: Schema, full: bool) -> Any:
    return max(schema.get("minimum", 1), min(1, schema.get("maximum", 1)))


_SAMPLES: dict[str, Any] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _number,
    "number": _number,
    "boolean": lambda schema, full: True,
}
