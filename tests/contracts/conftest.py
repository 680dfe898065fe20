"""A project with contracts of its own, in a folder of its own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from django_strangler import extending
from django_strangler.contracts import declare, upcasters, validating
from django_strangler.contracts.declare import registry
from django_strangler.contracts.judging import Judge, Judgement, Level
from django_strangler.contracts.snapshots import Store
from django_strangler.contracts.writing import unwritten, write
from django_strangler.inbox.subscribers import registry as subscribers

TODAY = date(2030, 1, 7)
TYPE = "order.placed"


def value(name: str = "OrderPlaced", /, **fields: Any) -> type:
    """A frozen dataclass; a field is its annotation, or that and a default."""
    given = [
        (field, *each) if isinstance(each, tuple) else (field, each)
        for field, each in fields.items()
    ]
    made = [
        (field, kind, dataclasses.field(default=default[0]))
        if default
        else (field, kind)
        for field, kind, *default in given
    ]
    return dataclasses.make_dataclass(name, made, frozen=True, kw_only=True)


class World:
    """What is declared, what was written, and what comes of it."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)

    def declare(self, type: str = TYPE, /, cls: Any = None, **options: Any) -> Any:
        """Declare it as it is now, whatever it was before."""
        registry.events.pop(type, None)
        return declare.event(type, **options)(cls or value(id=str))

    def write(self) -> None:
        write(unwritten(self.store))

    def need(self, reader: str, schema: Any, type: str = TYPE) -> None:
        """A reader's file."""
        path = self.store.root / "needs" / reader / f"{type}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(schema))

    def accept(self, *entries: dict[str, Any]) -> None:
        self.store.root.mkdir(exist_ok=True)
        (self.store.root / "accepted.json").write_text(json.dumps(entries))

    def verdicts(self, today: date = TODAY) -> list[Judgement]:
        return Judge(self.store, today).verdicts()

    def change(self, old: Any, new: Any) -> list[Judgement]:
        """What comes of declaring it otherwise."""
        self.declare(TYPE, old)
        self.write()
        self.declare(TYPE, new)
        return self.verdicts()

    def run(self, verb: str, *options: str) -> tuple[int, str]:
        """The command's exit code, and what it wrote."""
        import io

        out = io.StringIO()
        code = 0
        try:
            call_command(
                "strangler_contracts",
                verb,
                "--dir",
                str(self.store.root),
                *options,
                stdout=out,
            )
        except CommandError as error:
            code = error.returncode
            out.write(str(error))
        return code, out.getvalue()


def told(verdicts: list[Judgement]) -> dict[str, str]:
    """Level by rule and path."""
    return {f"{each.rule} {each.path}".strip(): each.level.value for each in verdicts}


def breaking(verdicts: list[Judgement]) -> list[Judgement]:
    return [each for each in verdicts if each.level is Level.BREAK]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(registry, "events", {})
    monkeypatch.setattr(registry, "readers", [])
    monkeypatch.setattr(upcasters, "registered", {})
    monkeypatch.setattr(registry, "_discovered", True)
    monkeypatch.setattr(subscribers, "_by_name", {})
    monkeypatch.setattr(subscribers, "_discovered", True)
    monkeypatch.setattr(subscribers, "broken_modules", {})
    return World(tmp_path / "contracts")


@pytest.fixture
def validated(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Callable[..., Any]:
    """What is published is looked at, as in a project's own tests."""
    given = {
        key: each for key, each in settings.STRANGLER.items() if key != "CONTRACTS"
    }
    settings.STRANGLER = given
    monkeypatch.setattr(extending, "validators", [validating.validate])
    return validating.validate
