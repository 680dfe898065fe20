"""What Django code returns, as plain values that can be compared, kept and sent."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
import uuid
from collections.abc import Callable, Iterable, Mapping, Set
from decimal import Decimal
from typing import Any, TypeAlias

from django.db.models import Model, QuerySet
from django.db.models.fields.files import FieldFile
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils.functional import Promise
from django.utils.timezone import is_aware

# None, bool, int, float, str, lists, and dicts with text for keys. What JSON lacks is
# {"$": its type, "v": its value}.
Plain: TypeAlias = Any

NODES = 20_000  # Values within one value; more is too much to compare.
TEXT = 200_000  # Characters of one text, likewise.
ROWS = 1_000  # Rows of a queryset.
HEADERS = ("content-type", "location", "cache-control", "vary")


class TooLarge(Exception):
    """A value has more parts than are compared."""


class Incomparable(Exception):
    """A value can be read only once, or not at all from outside."""


def plain(value: object, *, nodes: int = NODES) -> Plain:
    """
    The value in plain form; the value itself stays as it was.

    A queryset is asked anew: its own cache is the caller's to fill. Raises ``TooLarge``
    and ``Incomparable``.
    """
    return _Reader(nodes).read(value)


class _Reader:
    def __init__(self, nodes: int) -> None:
        self._left = nodes
        self._inside: set[int] = set()

    def read(self, value: object) -> Plain:
        self._left -= 1
        if self._left < 0:
            raise TooLarge("It has too many parts to be compared.")
        kind = type(value)
        if value is None or kind is bool or kind is int:
            return value
        if kind is str:
            return self._text(value)
        if kind is float:
            return value if math.isfinite(value) else tagged("float", repr(value))  # type: ignore[arg-type]
        for types, read in _KINDS:
            if isinstance(value, types):
                return read(self, value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._dataclass(value)
        return self._other(value)

    def _text(self, value: Any) -> str:
        if len(value) > TEXT:
            raise TooLarge("It has a text that is too long to be compared.")
        return str(value)

    def _nested(self, value: object, read: Callable[[], Plain]) -> Plain:
        if id(value) in self._inside:
            return tagged("cycle", "")
        self._inside.add(id(value))
        try:
            return read()
        finally:
            self._inside.discard(id(value))

    def _mapping(self, value: Mapping[object, object]) -> Plain:
        def read() -> Plain:
            found = {
                key if isinstance(key, str) else f"{type(key).__name__} {key!r:.200}": (
                    self.read(each)
                )
                for key, each in value.items()
            }
            # A dict that looks like one of ours.
            return tagged("dict", found) if "$" in found else found

        return self._nested(value, read)

    def _list(self, value: Iterable[object]) -> Plain:
        return self._nested(value, lambda: [self.read(each) for each in value])

    def _set(self, value: Set[object]) -> Plain:
        parts = [self.read(each) for each in value]
        return tagged("set", sorted(parts, key=text_of))

    def _queryset(self, value: QuerySet[Any]) -> Plain:
        rows = list(
            value.all()[: ROWS + 1] if not value.query.is_sliced else value.all()
        )
        if len(rows) > ROWS:
            raise TooLarge(f"It is a queryset of more than {ROWS} rows.")
        read = [self.read(row) for row in rows]
        return read if value.ordered else tagged("rows", sorted(read, key=text_of))

    def _model(self, value: Model) -> Plain:
        deferred = value.get_deferred_fields()
        fields = {
            field.attname: self.read(getattr(value, field.attname))
            for field in value._meta.concrete_fields
            if field.attname not in deferred
        }
        return tagged(value._meta.label_lower, fields)

    def _dataclass(self, value: Any) -> Plain:
        fields = dataclasses.fields(value)

        def read() -> Plain:
            found = {each.name: self.read(getattr(value, each.name)) for each in fields}
            return tagged(type(value).__qualname__, found)

        return self._nested(value, read)

    def _response(self, value: HttpResponseBase) -> Plain:
        if not isinstance(value, HttpResponse):
            raise Incomparable(
                "It is a streaming response, which can be read only once."
            )
        headers = {name: value[name] for name in HEADERS if value.has_header(name)}
        body: object = bytes(value.content)
        if "json" in headers.get("content-type", ""):
            try:
                body = json.loads(value.content)
            except ValueError:
                body = bytes(value.content)
        read = {"status": value.status_code, "headers": headers, "body": body}
        return self._mapping(read)  # type: ignore[arg-type]

    def _bytes(self, value: Any) -> Plain:
        content = bytes(value)
        if len(content) > TEXT:
            raise TooLarge("It has bytes that are too many to be compared.")
        try:
            return tagged("bytes", content.decode())
        except UnicodeDecodeError:
            return tagged("bytes", content.hex())

    def _other(self, value: object) -> Plain:
        if hasattr(value, "__next__"):
            raise Incomparable("It is an iterator, which can be read only once.")
        if callable(value):
            return tagged("callable", getattr(value, "__qualname__", repr(type(value))))
        state = getattr(value, "__dict__", None)
        if not isinstance(state, dict):
            raise Incomparable(
                f"It is a {type(value).__qualname__}, whose parts are not known."
            )
        public = {name: each for name, each in state.items() if name[:1] != "_"}
        return tagged(type(value).__qualname__, self._mapping(public))


def tagged(type: str, value: Plain) -> Plain:
    """A value that JSON does not have."""
    return {"$": type, "v": value}


def text_of(value: Plain) -> str:
    """One text for equal values: to sort by, and to show."""
    return json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)


def _moment(reader: _Reader, value: Any) -> Plain:
    # One moment in two zones is one moment.
    if is_aware(value):
        value = value.astimezone(datetime.timezone.utc)
    return tagged("datetime", value.isoformat())


# The first that fits counts: a subclass stands before its base.
_KINDS: tuple[tuple[Any, Callable[[_Reader, Any], Plain]], ...] = (
    (enum.Enum, lambda reader, value: reader.read(value.value)),
    (bool, lambda reader, value: bool(value)),
    (int, lambda reader, value: int(value)),
    (float, lambda reader, value: reader.read(float(value))),
    ((str, Promise), lambda reader, value: reader._text(str(value))),
    (Decimal, lambda reader, value: tagged("decimal", str(value))),
    (datetime.datetime, _moment),
    (datetime.date, lambda reader, value: tagged("date", value.isoformat())),
    (datetime.time, lambda reader, value: tagged("time", value.isoformat())),
    (
        datetime.timedelta,
        lambda reader, value: tagged("seconds", value.total_seconds()),
    ),
    (uuid.UUID, lambda reader, value: tagged("uuid", str(value))),
    ((bytes, bytearray, memoryview), lambda reader, value: reader._bytes(value)),
    (FieldFile, lambda reader, value: reader._text(value.name or "")),
    (Model, lambda reader, value: reader._model(value)),
    (QuerySet, lambda reader, value: reader._queryset(value)),
    (HttpResponseBase, lambda reader, value: reader._response(value)),
    (Mapping, lambda reader, value: reader._mapping(value)),
    ((list, tuple), lambda reader, value: reader._list(value)),
    (Set, lambda reader, value: reader._set(value)),
)
