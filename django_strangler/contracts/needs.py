"""Needs: what a reader reads of an event, as plain JSON Schema, one file each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django_strangler import conf
from django_strangler.inbox.subscribers import registry as subscribers

from .events import Contract
from .exceptions import CannotJudge
from .fitting import JSON_TYPES, Schema, types_of
from .snapshots import Store, as_text, paths_of

_RULED = {
    *("type", "properties", "required", "additionalProperties", "items", "enum"),
    *("format", "pattern", "minimum", "maximum", "minLength", "maxLength"),
    *("minItems", "maxItems"),
}
_SAYS_NOTHING = {
    *("$id", "$schema", "$comment", "title", "description", "examples", "default"),
    *("deprecated", "readOnly", "writeOnly"),
}


@dataclass(frozen=True, kw_only=True)
class Need:
    """What one reader reads of one type."""

    reader: str
    type: str
    schema: Schema
    contract: Contract | None = None  # Of a typed subscriber here: it has upcasters.

    @property
    def fields(self) -> list[str]:
        """The ways to what it reads."""
        return paths_of(self.schema)


def own_needs() -> Iterator[Need]:
    """The needs of this project's typed subscribers."""
    found = subscribers.all()
    for module, error in subscribers.broken_modules.items():
        raise CannotJudge(f"{module} cannot be imported, and may have readers: {error}")
    for subscriber in found:
        for each in subscriber.contracts:
            if isinstance(each, Contract):
                yield Need(
                    reader=subscriber.name,
                    type=each.type,
                    schema=each.schema,
                    contract=each,
                )


def brought_needs(store: Store) -> Iterator[Need]:
    """Those that readers have brought as files."""
    for path in _files(store):
        given = store.read(path)
        if not _is_own(given):
            schema = _ruled(given, str(path))
            yield Need(reader=path.parent.name, type=path.stem, schema=schema)


def own_files(store: Store) -> dict[Path, str]:
    """The files of this project's readers, by path."""
    comment = {"$comment": _written_by()}
    return {
        store.root / "needs" / each.reader / f"{each.type}.json": as_text(
            {**comment, **each.schema}
        )
        for each in own_needs()
    }


def forgotten_files(store: Store, own: Iterable[Path]) -> list[Path]:
    """Files of readers that this project had, and has no more."""
    return [
        path for path in _files(store) if path not in own and _is_own(store.read(path))
    ]


def _files(store: Store) -> list[Path]:
    return sorted((store.root / "needs").glob("*/*.json"))


def _written_by() -> str:
    return f"Written by strangler_contracts write, in {conf.current().source}."


def _is_own(given: Any) -> bool:
    return isinstance(given, dict) and given.get("$comment") == _written_by()


def _ruled(given: Any, where: str) -> dict[str, Any]:
    """The schema, if the rules know all that it says."""
    if given is True:
        return {}
    if not isinstance(given, Mapping):
        raise CannotJudge(f"{where} is not a JSON Schema but {given!r:.80}.")
    schema = {name: each for name, each in given.items() if name not in _SAYS_NOTHING}
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    for name in schema:
        if name not in _RULED and not name.startswith("x-"):
            raise CannotJudge(
                f"{where} has the keyword {name!r}, which the rules do not know. Say "
                f"what is read by: const, {', '.join(sorted(_RULED))}."
            )
    if schema.get("additionalProperties") is False:
        raise CannotJudge(
            f"{where} has additionalProperties: false, so each new field would break "
            "it. A reader leaves alone what it does not know: remove the line."
        )
    if not types_of(schema) <= set(JSON_TYPES):
        raise CannotJudge(f"{where} has the unknown type {schema['type']!r}.")
    for name in ("items", "additionalProperties"):
        if name in schema:
            schema[name] = _ruled(schema[name], f"{where} {name}")
    schema["properties"] = {
        name: _ruled(inner, f"{where} /{name}")
        for name, inner in schema.get("properties", {}).items()
    }
    return schema
