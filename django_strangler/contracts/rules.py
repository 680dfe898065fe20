"""
Rules: what one side may write, and the other cannot read.

Pure: schemas in, breaks out. A writer is closed, for it writes what it has declared; a
reader is open, for it leaves alone what it does not know.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from .fitting import Schema, misfit, types_of
from .samples import NOTHING, sample_of
from .schema import format_of


class Kind(enum.Enum):
    """How the two differ; and what it is called: in a new event, and in an old row."""

    MISSING = "REQUIRED_REMOVED", "REQUIRED_ADDED"
    MAY_BE_MISSING = "REQUIRED_BECAME_OPTIONAL", "OPTIONAL_BECAME_REQUIRED"
    NULL = "NULL_ADDED", "NULL_REMOVED"
    TYPE = "TYPE_CHANGED", "TYPE_NARROWED"
    ENUM = "ENUM_VALUE_ADDED", "ENUM_VALUE_REMOVED"
    BOUND = "BOUND_LOOSENED", "BOUND_TIGHTENED"
    PATTERN = "PATTERN_LOOSENED", "PATTERN_TIGHTENED"
    FORMAT = "FORMAT_CHANGED", "FORMAT_CHANGED"
    UNIT = "UNIT_CHANGED", "UNIT_CHANGED"

    @property
    def of_new_event(self) -> str:
        """Its name where an old reader gets a new event."""
        return self.value[0]

    @property
    def of_old_row(self) -> str:
        """Its name where a new reader gets an old row."""
        return self.value[1]

    @property
    def fails_for_new_event(self) -> bool:
        """Whether it is an error there; else a warning."""
        return self not in (Kind.BOUND, Kind.PATTERN)

    @property
    def fails_for_old_row(self) -> bool:
        """The same there, where an upcaster may help."""
        return self in (Kind.FORMAT, Kind.UNIT)


Place: TypeAlias = "tuple[str, Kind]"


@dataclass(frozen=True, slots=True)
class Break:
    """One place where a reader cannot read what is written."""

    kind: Kind
    sample: Any  # A whole payload that shows it; NOTHING where none was found.
    path: str = ""  # "/lines/*/qty".

    @property
    def place(self) -> Place:
        """What tells it from others of the same two schemas."""
        return self.path, self.kind

    def within(self, name: str, around: Callable[[Any], Any]) -> Break:
        """The same, seen from outside."""
        outer = NOTHING if self.sample is NOTHING else around(self.sample)
        return replace(self, path=f"/{name}{self.path}", sample=outer)


def breaks(writer: Schema, reader: Schema) -> list[Break]:
    """What the writer may write and the reader cannot read, each with an example."""
    return [_proven(each, writer, reader) for each in _differences(writer, reader)]


def _proven(found: Break, writer: Schema, reader: Schema) -> Break:
    # Of another unit the value is as good as before; that is the trouble with it.
    is_shown = found.sample is not NOTHING and (
        found.kind is Kind.UNIT
        or (
            misfit(writer, found.sample, closed=True) is None
            and misfit(reader, found.sample) is not None
        )
    )
    return found if is_shown else replace(found, sample=NOTHING)


def _differences(writer: Schema, reader: Schema) -> Iterator[Break]:
    if reader.get("x-unit", writer.get("x-unit")) != writer.get("x-unit"):
        yield Break(Kind.UNIT, sample_of(writer))
    has_null = "null" in types_of(writer)
    if has_null and misfit(reader, None):
        yield Break(Kind.NULL, None)
    if "enum" in writer:
        yield from _finite(writer, reader)
        return
    kinds = types_of(writer) - {"null"}
    if has_null:  # Its examples are of the other types from here on.
        writer = {**writer, "type": [*kinds]}
    allowed = types_of(reader)
    if refused := {each for each in kinds if not _is_allowed(each, allowed)}:
        value = (
            0.5 if refused == {"number"} else sample_of({**writer, "type": [*refused]})
        )
        yield Break(Kind.TYPE, value)
        return
    if "enum" in reader:
        yield Break(Kind.ENUM, _another(writer, reader))
        return
    for kind, differ in _BY_TYPE.items():
        if kind in kinds:
            yield from differ(writer, reader)


def _is_allowed(kind: str, allowed: frozenset[str]) -> bool:
    return kind in allowed or (kind == "integer" and "number" in allowed)


def _finite(writer: Schema, reader: Schema) -> Iterator[Break]:
    """Try each value, as there are few."""
    for value in writer["enum"]:
        if value is not None and misfit(reader, value):
            yield Break(Kind.ENUM if "enum" in reader else Kind.TYPE, value)
            return


def _another(writer: Schema, reader: Schema) -> Any:
    """A value that the reader does not list."""
    candidates = (sample_of(writer), "another", 7, 2.5, *range(len(reader["enum"]) + 1))
    for each in candidates:
        if not misfit(writer, each, closed=True) and each not in reader["enum"]:
            return each
    return NOTHING


def _texts(writer: Schema, reader: Schema) -> Iterator[Break]:
    wanted, given = format_of(reader), format_of(writer)
    if wanted and wanted != given:
        yield Break(Kind.FORMAT, sample_of(writer))
    elif "pattern" in reader and reader["pattern"] != writer.get("pattern"):
        yield Break(Kind.PATTERN, _unfitting(writer, reader))
    least, most = writer.get("minLength", 0), writer.get("maxLength", math.inf)
    if least < reader.get("minLength", 0):
        yield Break(Kind.BOUND, "a" * least)
    if most > reader.get("maxLength", math.inf):
        yield Break(Kind.BOUND, "a" * (reader["maxLength"] + 1))


def _unfitting(writer: Schema, reader: Schema) -> Any:
    for each in (sample_of(writer), "", "a", "A", "0", "?", "aa", "another text"):
        if not misfit(writer, each) and misfit(reader, each):
            return each
    return NOTHING  # Two patterns that nobody can compare.


def _numbers(writer: Schema, reader: Schema) -> Iterator[Break]:
    low, high = writer.get("minimum", -math.inf), writer.get("maximum", math.inf)
    least, most = reader.get("minimum", -math.inf), reader.get("maximum", math.inf)
    if low < least:
        yield Break(Kind.BOUND, max(low, min(math.ceil(least) - 1, high)))
    if high > most:
        yield Break(Kind.BOUND, min(high, max(math.floor(most) + 1, low)))


def _lists(writer: Schema, reader: Schema) -> Iterator[Break]:
    item = writer.get("items", {})
    if reader.get("minItems", 0) > writer.get("minItems", 0):
        yield Break(Kind.BOUND, [])
    if reader.get("maxItems", math.inf) < writer.get("maxItems", math.inf):
        yield Break(Kind.BOUND, [sample_of(item)] * (reader["maxItems"] + 1))
    if "items" in reader:
        for each in _differences(item, reader["items"]):
            yield each.within("*", lambda value: [value])


def _objects(writer: Schema, reader: Schema) -> Iterator[Break]:
    base = sample_of(writer)
    own, others = writer.get("properties", {}), writer.get("additionalProperties")
    wanted, rest = reader.get("properties", {}), reader.get("additionalProperties")
    for name in reader.get("required", ()):
        if name not in writer.get("required", ()):
            kind = Kind.MAY_BE_MISSING if name in own or others else Kind.MISSING
            yield Break(kind, base, f"/{name}")
    for name in [
        *own,
        *((others and [each for each in wanted if each not in own]) or ()),
    ]:
        inner, read = own.get(name, others), wanted.get(name, rest)
        if read:
            yield from _inside(name, base, inner, read)
    if others and rest:
        yield from _inside("*", base, others, rest)


def _inside(name: str, base: Any, inner: Schema, read: Schema) -> Iterator[Break]:
    for each in _differences(inner, read):
        yield each.within(name, lambda value: {**base, name: value})


_BY_TYPE: dict[str, Callable[[Schema, Schema], Iterator[Break]]] = {
    "string": _texts,
    "integer": _numbers,
    "number": _numbers,
    "array": _lists,
    "object": _objects,
}
