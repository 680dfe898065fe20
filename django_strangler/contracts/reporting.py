"""Verdicts in words: for a terminal, for a code review, and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .fitting import Schema, types_of
from .judging import Judgement, Level
from .samples import NOTHING
from .schema import format_of
from .snapshots import walk


def lines(verdict: Judgement) -> Iterator[str]:
    """As people read it."""
    hurts = f"hurts: {', '.join(verdict.hurts)}" if verdict.hurts else ""
    parts = (verdict.type, verdict.change, verdict.path, verdict.rule, hurts)
    yield "  ".join((f"{verdict.level.value:5}", *filter(None, parts)))
    if verdict.sample is not NOTHING:
        who = " or ".join(verdict.hurts) or "such a reader"
        yield f"       {json.dumps(verdict.sample)}   <- {who} cannot read this"
    if verdict.todo:
        yield f"       -> {verdict.todo}"


def annotation(verdict: Judgement) -> str:
    """As GitHub shows it beside a change."""
    kinds = {Level.BREAK: "error", Level.WARN: "warning", Level.NOTE: "notice"}
    title, *rest = lines(verdict)
    text = "%0A".join(each.strip().replace("%", "%25") for each in rest)
    return f"::{kinds[verdict.level]} title={' '.join(title.split()[1:])}::{text}"


def as_json(verdict: Judgement) -> dict[str, Any]:
    """As programs read it."""
    told = {**vars(verdict), "level": verdict.level.value, "hurts": [*verdict.hurts]}
    if verdict.sample is NOTHING:
        del told["sample"]
    return told


def difference(old: Schema, new: Schema) -> Iterator[str]:
    """Field by field, what is new, gone, or another."""
    before, after = _fields(old), _fields(new)
    for path in sorted({*before, *after}):
        if path not in after:
            yield f"- {path} {before[path]}"
        elif path not in before:
            yield f"+ {path} {after[path]}"
        elif before[path] != after[path]:
            yield f"~ {path} {before[path]} -> {after[path]}"


_SHOWN = ("x-unit", "minimum", "maximum", "minLength", "maxLength")


def describe(schema: Schema) -> str:
    """A field's type in a few words."""
    words = [" or ".join(sorted(types_of(schema)))]
    if named := format_of(schema):
        words.append(named)
    elif "pattern" in schema:
        words.append(f"like {schema['pattern']}")
    elif known := schema.get("enum") or schema.get("examples"):
        others = "" if "enum" in schema else " or others"
        words.append(f"{json.dumps(known)}{others}")
    words += [
        f"{name.removeprefix('x-')} {schema[name]}" for name in _SHOWN if name in schema
    ]
    return ", ".join(words)


def _fields(schema: Schema) -> Mapping[str, str]:
    return {
        path: ("" if is_required else "optional ") + describe(inner)
        for path, inner, is_required in walk(schema)
    }
