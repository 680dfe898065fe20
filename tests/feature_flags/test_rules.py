"""Bad input is refused at the door."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from uuid import UUID

import pytest
from django.contrib.auth.models import AnonymousUser
from django.utils.functional import SimpleLazyObject
from users.models import User

from django_strangler.exceptions import (
    InvalidFlagName,
    InvalidPercentage,
    InvalidSalt,
    InvalidSubject,
)
from django_strangler.feature_flags import rules


@pytest.mark.parametrize("name", ["a", "notifications-v2", "a_b-3", "0", "x" * 100])
def test_a_slug_is_a_name(name):
    assert rules.check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "A", "a b", "a.b", "a:b", "ä", "a\n", "x" * 101, None, 1, b"a"]
)
def test_anything_else_is_no_name(name):
    with pytest.raises(InvalidFlagName, match="Use lower-case letters"):
        rules.check_name(name)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (0, "0.00"),
        (100, "100.00"),
        ("12.5", "12.50"),
        (" 7 ", "7.00"),
        (Decimal("0.01"), "0.01"),
        (Decimal("1E+1"), "10.00"),
        ("-0", "0.00"),
        (12.5, "12.50"),
        (0.1, "0.10"),
        (99.99, "99.99"),
    ],
)
def test_a_percentage_has_two_decimals(given, expected):
    checked = rules.check_percentage(given)

    assert str(checked) == expected


@pytest.mark.parametrize(
    "given",
    [
        -1,
        101,
        "100.01",
        "-0.01",
        "0.001",
        Decimal("12.345"),
        0.1 + 0.2,
        1 / 3,
        float("nan"),
        float("inf"),
        Decimal("sNaN"),
        "1e9999999",
        "",
        "12,5",
        "half",
        True,
        None,
        [],
        1j,
    ],
)
def test_any_other_percentage_is_refused(given):
    with pytest.raises(InvalidPercentage):
        rules.check_percentage(given)


def test_the_error_names_the_nearest_percentage():
    with pytest.raises(InvalidPercentage, match=r"12\.345 % .* The nearest is 12\.34"):
        rules.check_percentage("12.345")


@pytest.mark.parametrize("salt", ["", "a:b", "a b", "ä", "x" * 101, None])
def test_a_salt_without_a_colon_is_wanted(salt):
    with pytest.raises(InvalidSalt):
        rules.check_salt(salt)


def test_an_instance_and_its_id_are_the_same_subject():
    uuid = UUID("9f0c2a4e-0000-4000-8000-00000000002a")

    assert rules.subject_text(User(pk=42)) == "42"
    assert rules.subject_text(SimpleLazyObject(lambda: User(pk=42))) == "42"
    assert rules.subject_text(42) == rules.subject_text("42") == "42"
    assert rules.subject_text(SimpleNamespace(pk=uuid)) == rules.subject_text(uuid)
    assert rules.subject_text(uuid) == "9f0c2a4e-0000-4000-8000-00000000002a"


@pytest.mark.parametrize("nobody", [None, "", AnonymousUser(), User()])
def test_nobody_has_no_id(nobody):
    assert rules.subject_text(nobody) == ""


@pytest.mark.parametrize("wrong", [True, 1.5, b"42", object(), ["42"], {}])
def test_what_is_neither_a_user_nor_an_id_is_refused(wrong):
    with pytest.raises(InvalidSubject, match="Pass a user"):
        rules.subject_text(wrong)


def test_ids_are_text_and_named_once():
    assert rules.check_ids([7, "7", User(pk=3), "abc"]) == ["3", "7", "abc"]


@pytest.mark.parametrize(
    "ids", ["42", b"42", 42, [None], [""], ["a\x00"], ["\ud800"], ["x" * 256], [1.5]]
)
def test_an_id_that_cannot_be_named_is_refused(ids):
    with pytest.raises(InvalidSubject):
        rules.check_ids(ids)


def test_more_ids_than_every_process_should_hold_are_refused():
    with pytest.raises(InvalidSubject, match="10001 ids are too many"):
        rules.check_ids(range(10_001))
