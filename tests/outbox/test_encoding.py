from __future__ import annotations

import dataclasses
import enum
import json
import uuid
from collections import OrderedDict, namedtuple
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal

import pytest
from django.contrib.auth import get_user_model
from django.db import models
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from django_strangler.exceptions import InvalidPayload, PayloadTooLarge
from django_strangler.outbox.encoding import canonical, encode


@dataclasses.dataclass
class Money:
    amount: Decimal
    currency: str


class Currency(models.TextChoices):
    BAHT = "THB"


class Level(enum.IntEnum):
    HIGH = 3


Point = namedtuple("Point", "x y")
ID = uuid.UUID("6f2c1d9e-0000-4000-8000-000000000001")


def encoded(payload):
    return encode(payload, limit=10_000_000)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Decimal("12.50"), "12.50"),
        (Decimal("1E+3"), "1E+3"),
        (date(2024, 2, 29), "2024-02-29"),
        (time(12, 30, 1, 5), "12:30:01.000005"),
        (datetime(2024, 1, 2, 3, 4, 5, 6, timezone.utc), "2024-01-02T03:04:05.000006Z"),
        (
            datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=7))),
            "2024-01-02T00:00:00+07:00",
        ),
        (timedelta(days=1, seconds=2), "P1DT00H00M02S"),
        (ID, str(ID)),
        (gettext_lazy("Yes"), "Yes"),
        (SimpleLazyObject(lambda: "late"), "late"),
        (SimpleLazyObject(lambda: {"a": ID}), {"a": str(ID)}),
        (mark_safe("<b>"), "<b>"),
        (Currency.BAHT, "THB"),
        (Level.HIGH, 3),
        (Money(Decimal("1.10"), "EUR"), {"amount": "1.10", "currency": "EUR"}),
        (Point(1, 2), [1, 2]),
        ((1, (2,)), [1, [2]]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        ({Currency.BAHT: 1}, {"THB": 1}),
        ("ü ก 😀 \\u0000 \"'\n", "ü ก 😀 \\u0000 \"'\n"),
        (None, None),
        (True, True),
        (-0.5, -0.5),
        (1.2345678901234567e25, 1.2345678901234567e25),
        (2**70, 2**70),
        ([], []),
    ],
)
def test_what_django_users_store_becomes_json(value, expected):
    assert json.loads(encoded(value)) == expected
    assert json.loads(encoded({"nested": [value]})) == {"nested": [expected]}


def test_the_body_is_ascii_without_blanks():
    assert encoded({"name": "ü", "list": [1, 2]}) == r'{"name":"\u00fc","list":[1,2]}'


def test_names_keep_their_order():
    assert encoded({"b": 1, "a": 2}) == '{"b":1,"a":2}'


def nested(levels):
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value


def cycle():
    value = {}
    value["self"] = value
    return value


class Unprintable(str):
    def __repr__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("-Infinity"),
        "a\x00b",
        "\ud800",
        "ü\udfff",
        {"a\x00": 1},
        {"\ud83d": 1},
        {Unprintable("\x00"): 1},
        {1, 2},
        frozenset(),
        {1: "a"},
        {None: 1},
        {ID: 1},
        {10**5000: 1},
        10**5000,
        nested(33),
        cycle(),
        b"bytes",
        object(),
        (each for each in ()),
        Money,
        datetime(2024, 1, 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_hold_is_refused(value):
    for payload in (value, {"name": [value]}):
        with pytest.raises(InvalidPayload):
            encoded(payload)


def test_the_error_leads_to_the_place():
    with pytest.raises(
        InvalidPayload, match=r"payload\['items'\]\[1\]\['price'\] is nan"
    ):
        encoded({"items": [{}, {"price": float("nan")}]})


def test_a_cycle_is_told_in_one_line():
    with pytest.raises(InvalidPayload, match="contains itself") as error:
        encoded(cycle())

    assert len(str(error.value)) < 300


def test_a_model_instance_is_refused_with_what_to_do():
    with pytest.raises(InvalidPayload, match="Publish the fields"):
        encoded({"user": SimpleLazyObject(get_user_model())})


def test_32_levels_are_allowed():
    assert json.loads(encoded(nested(32))) == nested(32)


def test_without_use_tz_a_naive_time_gets_the_project_s_zone(settings):
    settings.USE_TZ = False
    settings.TIME_ZONE = "Asia/Bangkok"

    assert json.loads(encoded(datetime(2024, 1, 1))) == "2024-01-01T00:00:00+07:00"


def test_the_limit_counts_bytes():
    assert encode("a" * 8, limit=10)

    with pytest.raises(PayloadTooLarge, match=r"11 bytes as JSON.*allows 10"):
        encode("a" * 9, limit=10)


def test_bodies_are_compared_as_json():
    assert canonical('{"a":1,"b":2}') == canonical('{"b":2,"a":1}')
    assert len(set(map(canonical, ["1", "1.0", "true"]))) == 3
