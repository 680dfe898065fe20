"""The gates: their order, and that only the subject's id counts."""

from __future__ import annotations

from decimal import Decimal

import pytest

from django_strangler.feature_flags.buckets import bucket, threshold
from django_strangler.feature_flags.gates import Rules, threshold_at


def rules(percentage="0", **values):
    values = {"enabled": True, "salt": "payments-v2", **values}
    return Rules(threshold=threshold(Decimal(percentage)), **values)


def ids(*values):
    return frozenset(values)


@pytest.mark.parametrize(
    ("flag", "subject", "expected"),
    [
        # The off switch is asked first, the percentage last.
        (rules("100", enabled=False, included=ids("1")), "1", (False, "off", None)),
        (
            rules("100", included=ids("1"), excluded=ids("1")),
            "1",
            (False, "excluded", None),
        ),
        (rules("0", included=ids("1")), "1", (True, "included", None)),
        (rules("0", included=ids("1")), "2", (False, "nobody", None)),
        (rules("100", excluded=ids("1")), "2", (True, "everybody", None)),
        (rules("99.99"), "", (False, "no-subject", None)),
        (rules("100"), "", (True, "everybody", None)),
        (rules("50"), "42", (False, "percentage", 4048139617)),
        (rules("99.99"), "42", (True, "percentage", 4048139617)),
    ],
)
def test_the_first_gate_that_knows_answers(flag, subject, expected):
    assert flag.decide(subject) == expected


def test_a_subject_without_an_id_is_never_named():
    flag = rules("0", included=ids(""), excluded=ids(""))

    assert flag.decide("")[0] in (False, True)
    assert rules("50").decide("") == (False, "no-subject", None)


def test_exactly_the_places_below_the_threshold_are_in():
    place = bucket("payments-v2", "42")

    def flag(limit):
        return Rules(enabled=True, salt="payments-v2", threshold=limit)

    assert flag(place + 1).decide("42")[0]
    assert not flag(place).decide("42")[0]


def test_a_ramp_sets_the_percentage_by_the_clock():
    flag = rules("1", steps=((100.0, 500), (200.0, 700)))

    assert threshold_at(flag, 99.9) == threshold(Decimal(1))
    assert threshold_at(flag, 100.0) == 500
    assert threshold_at(flag, 199.9) == 500
    assert threshold_at(flag, 1e12) == 700
