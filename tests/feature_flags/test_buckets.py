"""Buckets: nginx's hash, and what follows from comparing it with a threshold."""

from __future__ import annotations

import os
from decimal import Decimal
from functools import cache
from itertools import pairwise
from random import Random

import pytest

from django_strangler.feature_flags.buckets import (
    EVERYBODY,
    bucket,
    murmur2,
    threshold,
)

USERS = [str(number) for number in range(100_000)]
STEPS = [Decimal(step) for step in ("0.01", "0.1", "1", "5", "10", "25", "50", "75")]


@cache
def places(salt: str) -> dict[str, int]:
    return {user: bucket(salt, user) for user in USERS}


def served(salt: str, percentage: Decimal) -> set[str]:
    limit = threshold(percentage)
    return {user for user, place in places(salt).items() if place < limit}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"hello", 0xE56129CB),
        (b"payments-v2:42", 4048139617),
        (b"payments-v2:", 612156538),
    ],
)
def test_the_hash_is_that_of_nginx(data, expected):
    assert murmur2(data) == expected


def test_the_hash_equals_the_plain_algorithm_for_every_length():
    for length in range(130):
        data = os.urandom(length)
        assert murmur2(data) == plain_murmur2(data)


def test_the_hashed_text_is_the_salt_a_colon_and_the_id_as_utf_8():
    assert bucket("payments-v2", "42") == 4048139617
    assert bucket("s", "é") == murmur2(b"s:\xc3\xa9")


def test_an_id_that_is_no_unicode_has_a_place_all_the_same():
    assert 0 <= bucket("s", "\ud800") < EVERYBODY


@pytest.mark.parametrize(
    ("percentage", "expected"),
    [
        ("0", 0),
        ("0.01", 429496),
        ("12.5", 536870911),
        ("99.99", 4294537798),
        ("100", EVERYBODY),
    ],
)
def test_the_threshold_is_floored_as_in_nginx(percentage, expected):
    assert threshold(Decimal(percentage)) == expected


@pytest.mark.parametrize("percentage", STEPS)
def test_a_rollout_reaches_its_share_within_three_tenths_of_a_percent(percentage):
    for salt in ("notifications-v2", "payments-v2", "x"):
        share = 100 * len(served(salt, percentage)) / len(USERS)
        assert abs(share - float(percentage)) <= 0.3


@pytest.mark.slow
def test_raising_never_takes_a_user_out_and_lowering_is_the_exact_reverse():
    raised = [served("notifications-v2", step) for step in STEPS]
    lowered = [served("notifications-v2", step) for step in reversed(STEPS)]

    assert all(before <= after for before, after in pairwise(raised))
    assert lowered == raised[::-1]


def test_two_flags_at_ten_percent_share_about_ten_percent_of_their_users():
    one = served("notifications-v2", Decimal(10))
    other = served("payments-v2", Decimal(10))

    assert 0.09 < len(one & other) / len(one) < 0.11


def test_sequential_and_random_ids_are_spread_alike():
    random = Random(7)
    limit = threshold(Decimal(25))
    ids = [str(random.getrandbits(63)) for _ in range(50_000)]

    share = sum(bucket("f", each) < limit for each in ids) / len(ids)

    assert abs(share - 0.25) < 0.01


def plain_murmur2(data: bytes) -> int:
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h, whole = len(data) & mask, len(data) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k ^= k >> 24
        h = (h * m & mask) ^ (k * m & mask)
    if tail := data[whole:]:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15
