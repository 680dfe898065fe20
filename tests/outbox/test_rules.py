from __future__ import annotations

import uuid
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.db import models
from django.utils.safestring import mark_safe

from django_strangler.exceptions import (
    InvalidDelay,
    InvalidHeader,
    InvalidKey,
    InvalidType,
)
from django_strangler.outbox import rules

HUGE = 10**5000  # Python refuses to print it.


class Decision:
    def __init__(self, name, enabled):
        self.name = name
        self.enabled = enabled

    def __bool__(self):
        return self.enabled


@pytest.mark.parametrize(
    "type", ["payment.completed", "a.b-c.D_1", f"a.{'b' * 253}", mark_safe("a.b")]
)
def test_a_type_is_dotted_words(type):
    assert rules.check_type(type) == type


@pytest.mark.parametrize(
    "type",
    [
        "",
        "payment",
        ".a",
        "a.",
        "a..b",
        "a.b\n",
        "a b.c",
        "a.*",
        "a.#",
        "zahlung.überwiesen",
        f"a.{'b' * 254}",
        None,
        b"a.b",
        pytest.param(HUGE, id="huge"),
    ],
)
def test_another_type_is_refused(type):
    with pytest.raises(InvalidType, match="not an event type"):
        rules.check_type(type)


@pytest.mark.parametrize("key", ["k", "ü" * 255, "payments.payment:42"])
def test_a_key_is_a_text(key):
    assert rules.check_key(key) == key


@pytest.mark.parametrize(
    "key",
    [
        "k" * 256,
        "a\x00",
        "\ud800",
        42,
        b"k",
        object(),
        pytest.param(HUGE, id="huge"),
        get_user_model()(),
    ],
)
def test_another_key_is_refused(key):
    with pytest.raises(InvalidKey):
        rules.check_key(key)


def test_no_key_is_no_key():
    assert rules.check_key(None) == ""


class Choice(models.TextChoices):
    ONE = "one"


def test_headers_are_texts_numbers_and_booleans():
    headers = {"tenant": "a", "retries": -3, "vip": True, "x.y-z_1": Choice.ONE}

    checked = rules.check_headers(headers)

    assert checked == {"tenant": "a", "retries": -3, "vip": True, "x.y-z_1": "one"}
    assert type(checked["x.y-z_1"]) is str
    assert type(checked["vip"]) is bool


@pytest.mark.parametrize(
    "headers",
    [
        {"Tenant": "a"},
        {"": "a"},
        {"-a": "a"},
        {"a b": "a"},
        {"ü": "a"},
        {"a" * 256: "a"},
        {1: "a"},
        {HUGE: "a"},
        {"strangler-key": "a"},
        {"flag-x": "on"},
        {"traceparent": "a"},
        {"a": 1.5},
        {"a": None},
        {"a": b"a"},
        {"a": ["a"]},
        {"a": 2**63},
        {"a": HUGE},
        {"a": "\x00"},
        {"a": "\ud800"},
        {"a": "a" * 20_000},
        ["a"],
        "a",
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_headers_are_refused(headers):
    with pytest.raises(InvalidHeader):
        rules.check_headers(headers)


def test_flags_travel_as_headers():
    flags = [Decision("notifications-v2", True), Decision("New_Payments", False)]

    assert rules.flag_headers(flags) == {
        "flag-notifications-v2": "on",
        "flag-new_payments": "off",
    }


@pytest.mark.parametrize(
    "flags",
    [
        Decision("not-in-a-list", True),
        True,
        None,
        "text",
        [True],
        [SimpleNamespace(name="a b")],
        [SimpleNamespace(name=None)],
        [Decision("a" * 201, True)],
        (Decision(f"{n:0190d}", True) for n in range(100)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_flag_is_refused(flags):
    with pytest.raises(InvalidHeader):
        rules.flag_headers(flags)


def test_a_correlation_id_is_an_opaque_text():
    one = uuid.uuid4()

    assert rules.check_correlation_id(None) == ""
    assert rules.check_correlation_id("r-1") == "r-1"
    assert rules.check_correlation_id(one) == str(one)


@pytest.mark.parametrize(
    "value", ["a\x00", "\ud800", "ü" * 128, 7, pytest.param(HUGE, id="huge"), b"a"]
)
def test_another_correlation_id_is_refused(value):
    with pytest.raises(InvalidHeader, match="correlation id"):
        rules.check_correlation_id(value)


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [(None, None), (0, None), (1.5, 1.5), (timedelta(minutes=2), 120.0)],
)
def test_a_delay_is_seconds(delay, seconds):
    assert rules.check_delay(delay) == seconds


def test_a_delay_is_an_aware_time():
    moment = datetime.now(timezone.utc)

    assert rules.check_delay(moment) == moment


@pytest.mark.parametrize(
    "delay",
    [
        -1,
        float("nan"),
        float("inf"),
        10**10,
        pytest.param(HUGE, id="huge"),
        True,
        "1",
        timedelta(days=-1),
        datetime(2030, 1, 1),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=5))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_another_delay_is_refused(delay):
    with pytest.raises(InvalidDelay):
        rules.check_delay(delay)
