"""
The rules against real validators: what they call compatible is, and a break is one.

``CONTRACTS_PAIRS=10000`` tries as many pairs; a test run has to be quick.
"""

from __future__ import annotations

import copy
import json
import os
import random
from typing import Any

import jsonschema
import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from django_strangler.contracts.fitting import Schema, misfit
from django_strangler.contracts.rules import Kind, breaks
from django_strangler.contracts.samples import NOTHING, sample_of
from django_strangler.contracts.schema import DECIMAL, DURATION, TIME

pytestmark = pytest.mark.slow

PAIRS = int(os.environ.get("CONTRACTS_PAIRS", "300"))
VALUES = 12  # Payloads that a writer may write, for each pair.
NAMES = ("a", "b", "c")

texts = st.one_of(
    st.just({"type": "string"}),
    st.builds(
        lambda least, more: {
            "type": "string",
            "minLength": least,
            "maxLength": least + more,
        },
        st.integers(0, 3),
        st.integers(0, 3),
    ),
    st.sampled_from(["date-time", "date", "uuid"]).map(
        lambda name: {"type": "string", "format": name}
    ),
    st.sampled_from([DECIMAL, TIME, DURATION]).map(
        lambda pattern: {"type": "string", "pattern": pattern}
    ),
    st.sampled_from([("^[A-Z]{3}$", "EUR"), ("^[a-z]+$", "ab"), ("a", "cat")]).map(
        lambda each: {"type": "string", "pattern": each[0], "examples": [each[1]]}
    ),
    st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, unique=True).map(
        lambda values: {"type": "string", "enum": values}
    ),
    st.just({"type": "string", "examples": ["x"]}),
)


@st.composite
def numbers(draw: Any) -> Schema:
    schema: dict[str, Any] = {"type": draw(st.sampled_from(["integer", "number"]))}
    least, more = draw(st.integers(-3, 3)), draw(st.integers(0, 3))
    if draw(st.booleans()):
        schema["minimum"] = least
    if draw(st.booleans()):
        schema["maximum"] = least + more
    return schema


wholes = st.lists(st.integers(0, 3), min_size=1, unique=True).map(
    lambda values: {"type": "integer", "enum": values}
)
leaves = st.one_of(texts, numbers(), wholes, st.just({"type": "boolean"}))


def nullable(schema: Schema) -> Schema:
    more = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, **more, "type": [schema["type"], "null"]}


def plain(schema: Schema) -> Schema:
    """The same without null."""
    (kind,) = {*schema["type"]} - {"null"}
    more = {}
    if "enum" in schema:
        more = {"enum": [each for each in schema["enum"] if each is not None]}
    return {**schema, **more, "type": kind}


@st.composite
def objects(draw: Any, inner: Any) -> Schema:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: draw(inner) for name in names},
    }
    required = [name for name in names if draw(st.booleans())]
    return {**schema, "required": required} if required else schema


def containers(inner: Any) -> Any:
    maybe = st.one_of(
        inner, inner.map(lambda s: s if "null" in s["type"] else nullable(s))
    )
    return st.one_of(
        objects(maybe),
        maybe.map(lambda each: {"type": "array", "items": each}),
        maybe.map(lambda each: {"type": "object", "additionalProperties": each}),
    )


schemas = st.recursive(leaves, containers, max_leaves=6)


@st.composite
def changed(draw: Any, schema: Schema) -> Schema:
    """The same but for a little: what people do to their events."""
    schema = copy.deepcopy(dict(schema))
    properties = schema.get("properties", {})
    what = draw(st.sampled_from(["here", "inside", "inside", "inside"]))
    if what == "inside" and properties:
        name = draw(st.sampled_from([*properties]))
        properties[name] = draw(changed(properties[name]))
        return schema
    for key in ("items", "additionalProperties"):
        if what == "inside" and key in schema:
            return {**schema, key: draw(changed(schema[key]))}
    if schema.get("type") == "object" and "additionalProperties" not in schema:
        name = draw(st.sampled_from(NAMES))
        required = set(schema.pop("required", ()))
        if draw(st.booleans()):
            required ^= {name}
        elif name in properties:
            del properties[name]
            required -= {name}
        else:
            properties[name] = draw(leaves)
        required &= {*properties}
        return {**schema, **({"required": sorted(required)} if required else {})}
    said = [
        *{"pattern", "format", "minimum", "maximum", "enum", "maxLength"} & {*schema}
    ]
    match draw(st.sampled_from(["null", "drop", "other", "other"])):
        case "null":
            return plain(schema) if "null" in schema["type"] else nullable(schema)
        case "drop" if said:
            gone = draw(st.sampled_from(sorted(said)))
            return {name: each for name, each in schema.items() if name != gone}
    return draw(st.one_of(schemas, leaves, leaves))


@st.composite
def pairs(draw: Any) -> tuple[Schema, Schema]:
    """A writer's and a reader's, mostly alike."""
    one = draw(objects(schemas))
    other = draw(st.one_of(changed(one), changed(one), objects(schemas)))
    return (one, other) if draw(st.booleans()) else (other, one)


def closed(schema: Any) -> Any:
    """A writer as JSON Schema: it writes what it has declared and nothing else."""
    made = {
        name: closed(each) if name in ("items", "additionalProperties") else each
        for name, each in schema.items()
    }
    if "properties" in schema:
        inner = {name: closed(each) for name, each in schema["properties"].items()}
        made |= {"properties": inner, "additionalProperties": False}
    return made


def written(schema: Schema, chance: random.Random) -> Any:
    """Something that a writer of this schema may write."""
    if "null" in schema["type"] and chance.random() < 0.3:
        return None
    if "enum" in schema:
        return chance.choice([each for each in schema["enum"] if each is not None])
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    match kinds[0]:
        case "object":
            fields = {
                name: written(each, chance)
                for name, each in schema.get("properties", {}).items()
                if name in schema.get("required", ()) or chance.random() < 0.6
            }
            if "additionalProperties" in schema:
                for name in chance.sample([*NAMES, "d"], chance.randint(0, 4)):
                    fields[name] = written(schema["additionalProperties"], chance)
            return fields
        case "array":
            return [
                written(schema["items"], chance) for _ in range(chance.randint(0, 2))
            ]
        case "integer" | "number":
            low = schema.get("minimum", schema.get("maximum", 0) - 5)
            high = schema.get("maximum", low + 5)
            whole = kinds[0] == "integer" or chance.random() < 0.5
            return chance.randint(low, high) if whole else chance.uniform(low, high)
        case "boolean":
            return chance.random() < 0.5
    candidates = [sample_of({**schema, "type": "string"})]
    candidates += [
        "",
        "a",
        "zzzz",
        "EUR",
        "12.50",
        "09:00:00",
        "2030-01-07",
        "x",
        "new",
    ]
    candidates += [
        "1E-7",
        "2030-01-07T09:00:00Z",
        "0197b1a4-3c00-7000-8000-000000000001",
    ]
    return chance.choice([each for each in candidates if not misfit(schema, each)])


def accepts(schema: Schema, value: Any) -> bool:
    return jsonschema_rs.validator_for(schema, validate_formats=True).is_valid(value)


@seed(20300107)
@settings(
    max_examples=PAIRS,
    deadline=None,
    database=None,
    suppress_health_check=[*HealthCheck],
)
@given(pair=pairs(), number=st.integers(0, 2**32))
def test_the_rules_say_what_validators_say(pair, number):
    writer, reader = pair
    found = breaks(writer, reader)
    closed_writer = closed(writer)

    for each in found:
        if each.sample is not NOTHING and each.kind is not Kind.UNIT:
            assert accepts(closed_writer, each.sample), each
            assert not accepts(reader, each.sample), each
    if found:
        return

    # No false "compatible": whatever is written can be read ...
    chance = random.Random(number)
    checked = jsonschema.Draft202012Validator(
        reader, format_checker=jsonschema.FormatChecker()
    )
    for _ in range(VALUES):
        value = written(writer, chance)
        assert accepts(closed_writer, value), (writer, value)
        assert checked.is_valid(value), (writer, reader, value)
        assert accepts(reader, value), (writer, reader, value)
    # ... and containment does not find what was not tried.
    contained = jsonschema_rs.canonicalize(reader, validate_formats=True).covers(
        jsonschema_rs.canonicalize(closed_writer, validate_formats=True)
    )
    assert contained is not jsonschema_rs.canonical.Containment.NO, (writer, reader)


@seed(20300107)
@settings(
    max_examples=PAIRS,
    deadline=None,
    database=None,
    suppress_health_check=[*HealthCheck],
)
@given(schema=objects(schemas), number=st.integers(0, 2**32))
def test_whether_a_value_fits_is_what_validators_say(schema, number):
    chance = random.Random(number)
    value = written(schema, chance)
    assert misfit(schema, value, closed=True) is None

    broken = json.loads(json.dumps(value))
    for name in [*broken]:
        broken[name] = chance.choice([None, 1, 0.5, True, "text", [], [1], {}, "x"])
    assert (misfit(schema, broken) is None) == accepts(schema, broken), broken
