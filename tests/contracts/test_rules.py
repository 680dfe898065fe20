"""The table of rules: each of its rows, in both directions, with an example."""

from __future__ import annotations

import enum
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

import pytest

from django_strangler.contracts import limits, open_enum, unit
from django_strangler.contracts.declare import registry
from django_strangler.contracts.fitting import misfit
from django_strangler.contracts.rules import breaks
from django_strangler.contracts.samples import NOTHING
from django_strangler.contracts.schema import part_of
from django_strangler.inbox.subscribers import subscribe

from .conftest import TYPE, told, value

Small = Annotated[int, limits(least=0, most=9)]
Large = Annotated[int, limits(least=0, most=99)]
Code = Annotated[str, limits(pattern="^[A-Z]{3}$", example="EUR")]
Short = Annotated[str, limits(longest=3)]
Long = Annotated[str, limits(longest=9)]
Cents = Annotated[Small, unit("cents")]
Euros = Annotated[Small, unit("euros")]


class Two(enum.Enum):
    A = "a"
    B = "b"


class Three(enum.Enum):
    A = "a"
    B = "b"
    C = "c"


Open2, Open3 = Annotated[Two, open_enum], Annotated[Three, open_enum]
LINE = value("Line", sku=str)
LINE_AND = value("Line", sku=str, qty=Small)

# Each row: what is without and with the change, then what comes of making it, and of
# taking it back.
ROWS: dict[str, tuple[Any, Any, dict[str, str], dict[str, str]]] = {
    "an optional field": (
        value(a=str),
        value(a=str, b=(str, "")),
        {},
        {},
    ),
    "a required field": (
        value(a=str),
        value(a=str, b=str),
        {"REQUIRED_ADDED /b": "WARN"},
        {"REQUIRED_REMOVED /b": "BREAK"},
    ),
    "a field that becomes optional": (
        value(a=str),
        value(a=(str, "")),
        {"REQUIRED_BECAME_OPTIONAL /a": "BREAK"},
        {"OPTIONAL_BECAME_REQUIRED /a": "WARN"},
    ),
    "null": (
        value(a=str),
        value(a=str | None),
        {"NULL_ADDED /a": "BREAK"},
        {"NULL_REMOVED /a": "WARN"},
    ),
    "a type that is widened": (
        value(a=Small),
        value(a=Annotated[float, limits(least=0, most=9)]),
        {"TYPE_CHANGED /a": "BREAK"},
        {"TYPE_NARROWED /a": "WARN"},
    ),
    "another type": (
        value(a=Small),
        value(a=str),
        {"TYPE_CHANGED /a": "BREAK"},
        {"TYPE_CHANGED /a": "BREAK"},
    ),
    "a value of an enum": (
        value(a=Two),
        value(a=Three),
        {"ENUM_VALUE_ADDED /a": "BREAK"},
        {"ENUM_VALUE_REMOVED /a": "WARN"},
    ),
    "a value of an open enum": (value(a=Open2), value(a=Open3), {}, {}),
    "an enum that is opened": (
        value(a=Two),
        value(a=Open2),
        {"ENUM_VALUE_ADDED /a": "BREAK"},
        {"ENUM_VALUE_REMOVED /a": "WARN"},
    ),
    "a looser bound": (
        value(a=Small),
        value(a=Large),
        {"BOUND_LOOSENED /a": "WARN"},
        {"BOUND_TIGHTENED /a": "WARN"},
    ),
    "a longer text": (
        value(a=Short),
        value(a=Long),
        {"BOUND_LOOSENED /a": "WARN"},
        {"BOUND_TIGHTENED /a": "WARN"},
    ),
    "a pattern that is dropped": (
        value(a=Code),
        value(a=str),
        {"PATTERN_LOOSENED /a": "WARN"},
        {"PATTERN_TIGHTENED /a": "WARN"},
    ),
    "a format that is dropped": (
        value(a=datetime),
        value(a=str),
        {"FORMAT_CHANGED /a": "BREAK"},
        {"FORMAT_CHANGED /a": "BREAK"},
    ),
    "another format": (
        value(a=datetime),
        value(a=date),
        {"FORMAT_CHANGED /a": "BREAK"},
        {"FORMAT_CHANGED /a": "BREAK"},
    ),
    "another unit": (
        value(a=Cents),
        value(a=Euros),
        {"UNIT_CHANGED /a": "BREAK"},
        {"UNIT_CHANGED /a": "BREAK"},
    ),
    "a unit that was not said": (
        value(a=Small),
        value(a=Cents),
        {"UNIT_CHANGED /a": "BREAK"},
        {"UNIT_CHANGED /a": "BREAK"},
    ),
    "Decimal and number": (
        value(a=Decimal),
        value(a=float),
        {"TYPE_CHANGED /a": "BREAK"},
        {"TYPE_CHANGED /a": "BREAK"},
    ),
    "Decimal and text": (
        value(a=Decimal),
        value(a=str),
        {"FORMAT_CHANGED /a": "BREAK"},
        {"FORMAT_CHANGED /a": "BREAK"},
    ),
    "a field of what is in a list": (
        value(lines=list[LINE]),
        value(lines=list[LINE_AND]),
        {"REQUIRED_ADDED /lines/*/qty": "WARN"},
        {"REQUIRED_REMOVED /lines/*/qty": "BREAK"},
    ),
    "what is in a mapping": (
        value(prices=dict[str, Small]),
        value(prices=dict[str, Small | None]),
        {"NULL_ADDED /prices/*": "BREAK"},
        {"NULL_REMOVED /prices/*": "WARN"},
    ),
    "names that are any": (
        value(prices=value("Prices", a=Small)),
        value(prices=dict[str, Small]),
        {"REQUIRED_BECAME_OPTIONAL /prices/a": "BREAK"},
        {"OPTIONAL_BECAME_REQUIRED /prices/a": "WARN"},
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_table(world, row):
    without, with_it, expected, _back = ROWS[row]

    assert told(world.change(without, with_it)) == expected


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_table_taken_back(world, row):
    without, with_it, _forth, expected = ROWS[row]

    assert told(world.change(with_it, without)) == expected


@pytest.mark.parametrize("row", ROWS)
def test_a_break_has_an_example_that_shows_it(row):
    without, with_it = (part_of(each).schema for each in ROWS[row][:2])
    for writer, reader in ((with_it, without), (without, with_it)):
        for each in breaks(writer, reader):
            assert each.sample is not NOTHING
            assert misfit(writer, each.sample, closed=True) is None
            is_meaning = each.kind.name == "UNIT"
            assert is_meaning or misfit(reader, each.sample) is not None


def test_two_patterns_that_differ_break_each_other_although_none_shows_how(world):
    other = Annotated[str, limits(pattern="^E", example="EUR")]

    verdicts = world.change(value(a=Code), value(a=other))

    assert told(verdicts) == {"PATTERN_LOOSENED /a": "WARN"}


def test_a_description_and_the_order_of_fields_change_nothing(world):
    world.declare(TYPE, value(a=str, b=str))
    world.write()

    world.declare(TYPE, value(b=Annotated[str, "What it is."], a=str))

    assert world.verdicts() == []
    world.write()
    assert [each.label for each in world.store.of(TYPE)] == ["1.0"]


def test_a_name_that_was_removed_is_not_used_again(world):
    world.change(value(a=str, b=(str, "")), value(a=str))
    world.write()

    world.declare(TYPE, value(a=str, b=(str, "")))

    assert told(world.verdicts()) == {"RESERVED_NAME_USED /b": "BREAK"}


def test_another_kind_of_key_breaks_the_order(world):
    world.declare(TYPE, value(a=str), key="orders.order")
    world.write()

    world.declare(TYPE, value(a=str), key="users.user")

    assert told(world.verdicts()) == {"KEY_CHANGED": "BREAK"}


def test_an_integer_without_bounds_is_not_exact_in_javascript(world):
    ids = Annotated[int, limits(least=-(2**60), most=5)]
    world.declare(TYPE, value(a=int, b=list[int], c=ids, d=Small, e=int | None))
    world.write()

    assert told(world.verdicts()) == {
        "INT_UNSAFE_IN_JS /a": "WARN",
        "INT_UNSAFE_IN_JS /b/*": "WARN",
        "INT_UNSAFE_IN_JS /c": "WARN",
        "INT_UNSAFE_IN_JS /e": "WARN",
    }


def test_a_type_is_not_deleted_without_notice(world):
    world.declare(TYPE)
    world.write()
    registry.events.clear()

    assert told(world.verdicts()) == {"TYPE_DELETED": "BREAK"}


def test_a_type_is_not_deleted_before_its_day(world):
    world.declare(TYPE, until="2030-01-07")
    world.write()
    registry.events.clear()

    assert told(world.verdicts()) == {"TYPE_DELETED": "BREAK"}
    assert told(world.verdicts(today=date(2030, 1, 8))) == {"TYPE_DELETED": "NOTE"}


def test_a_type_is_not_deleted_while_somebody_reads_it(world):
    world.declare(TYPE, until="2030-01-06")
    world.write()
    registry.events.clear()
    subscribe(TYPE, name="invoices")(lambda event: None)
    world.need("warehouse", {"type": "object"})

    (verdict,) = world.verdicts()

    assert (verdict.rule, verdict.level.value) == ("TYPE_DELETED", "BREAK")
    assert verdict.hurts == ("invoices", "warehouse")
