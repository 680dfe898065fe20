"""Snapshots: what each event type held, one file for every minor, in the repository."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from .events import Contract
from .exceptions import CannotJudge
from .fitting import Schema

FOLDERS = ("needs", "samples")
_NAME = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """An event type as it was, or is now."""

    type: str
    major: int
    minor: int
    key: str
    owner: str
    until: str | None
    reserved: tuple[str, ...]  # Names that were in use, and never may be again.
    schema: Schema

    @property
    def label(self) -> str:
        """``1.2``."""
        return f"{self.major}.{self.minor}"

    @property
    def essence(self) -> Any:
        """What readers and relays depend on: no descriptions, no order."""
        return self.key, _bare(self.schema)

    @property
    def text(self) -> str:
        """The file."""
        return as_text(
            {
                "type": self.type,
                "version": self.label,
                "key": self.key,
                "owner": self.owner,
                "until": self.until,
                "reserved": list(self.reserved),
                "schema": {"$id": schema_id(self.type, self.major), **self.schema},
            }
        )


def schema_id(type: str, major: object) -> str:
    """What names a schema: another one with each major."""
    return f"urn:contract:{type}:{major}"


def as_text(value: Mapping[str, Any]) -> str:
    """JSON that differs only where it says something else."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


class Store:
    """The folder of the contracts."""

    def __init__(self, root: Path | None = None) -> None:
        base = Path(getattr(settings, "BASE_DIR", None) or ".")
        self.root = root if root is not None else base / "contracts"

    def types(self) -> list[str]:
        """Those with snapshots."""
        if not self.root.is_dir():
            return []
        return sorted(
            each.name
            for each in self.root.iterdir()
            if each.is_dir() and each.name not in FOLDERS and any(each.glob("*.json"))
        )

    def of(self, type: str) -> list[Snapshot]:
        """A type's snapshots, oldest first."""
        found = [
            self._snapshot(type, path) for path in (self.root / type).glob("*.json")
        ]
        return sorted(found, key=lambda each: (each.major, each.minor))

    def path(self, snapshot: Snapshot) -> Path:
        """Where its file is."""
        return self.root / snapshot.type / f"{snapshot.label}.json"

    def read(self, path: Path) -> Any:
        """A JSON file, or ``CannotJudge``."""
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CannotJudge(f"{path} cannot be read: {error}.") from error

    def _snapshot(self, type: str, path: Path) -> Snapshot:
        name, given = _NAME.fullmatch(path.stem), self.read(path)
        try:
            if name is None or given["version"] != path.stem or given["type"] != type:
                raise KeyError("type or version, which are not the file's name")
            schema = {k: v for k, v in given["schema"].items() if k != "$id"}
            return Snapshot(
                type=type,
                major=int(name[1]),
                minor=int(name[2]),
                key=given["key"],
                owner=given["owner"],
                until=given["until"],
                reserved=tuple(given["reserved"]),
                schema=schema,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise CannotJudge(
                f"{path} is not a snapshot: it lacks {error}. Restore it from the "
                "repository; snapshots are written by strangler_contracts write."
            ) from error


def planned(contract: Contract, known: list[Snapshot], until: str | None) -> Snapshot:
    """The snapshot that a contract needs: the newest one, or the next minor."""
    newest = known[-1] if known else None
    if newest is not None and newest.major > contract.version:
        raise CannotJudge(
            f"{contract.type!r} is declared as version {contract.version}, and was "
            f"{newest.label} before. Versions only rise."
        )
    gone = (
        set(paths_of(newest.schema)) - set(paths_of(contract.schema)) if newest else ()
    )
    snapshot = Snapshot(
        type=contract.type,
        major=contract.version,
        minor=0,
        key=contract.key,
        owner=contract.owner,
        until=until,
        reserved=tuple(sorted({*gone, *(newest.reserved if newest else ())})),
        schema=_sorted(contract.schema),
    )
    if newest is None or newest.major < contract.version:
        return snapshot
    is_same = newest.essence == snapshot.essence
    minor = newest.minor if is_same else newest.minor + 1
    return Snapshot(**{**vars(snapshot), "minor": minor})


def walk(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema, bool]]:
    """The ways to all that is in it, what is there, and whether it always is."""
    required = schema.get("required", ())
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}/{name}", inner, name in required
        yield from walk(inner, f"{path}/{name}")
    for inner in (schema.get("items"), schema.get("additionalProperties")):
        if inner:
            yield f"{path}/*", inner, True
            yield from walk(inner, f"{path}/*")


def paths_of(schema: Schema) -> list[str]:
    """The ways to all names in it: ``/lines``, ``/lines/*/qty``."""
    return [path for path, *_ in walk(schema) if not path.endswith("/*")]


def _sorted(schema: Any) -> Any:
    """Sort ``required``, so that moving a field changes nothing."""
    if not isinstance(schema, dict):
        return schema
    made = {name: _sorted(each) for name, each in schema.items()}
    if isinstance(made.get("required"), list):
        made["required"] = sorted(made["required"])
    return made


def _bare(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    bare: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "properties":
            bare[name] = {key: _bare(inner) for key, inner in value.items()}
        elif name in ("enum", "examples", "type") and isinstance(value, list):
            bare[name] = sorted(value, key=repr)
        elif name != "description":
            bare[name] = _bare(value)
    return bare
