"""Quantiles from buckets."""

from __future__ import annotations

import random
from collections import Counter
from statistics import quantiles

import pytest

from django_strangler.evidence.histogram import BOUNDS, bucket_of, quantile


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("middle", [0.0005, 0.02, 1.5])
def test_p50_and_p99_are_right_to_within_five_percent(middle: float, seed: int):
    rng = random.Random(seed)
    taken = [rng.lognormvariate(0, 0.7) * middle for _ in range(5000)]
    exact = quantiles(taken, n=100, method="inclusive")

    buckets = Counter(bucket_of(seconds) for seconds in taken)

    assert quantile(buckets, 0.50) == pytest.approx(exact[49], rel=0.05)
    assert quantile(buckets, 0.99) == pytest.approx(exact[98], rel=0.05)


def test_nothing_has_no_quantile():
    assert quantile({}, 0.99) is None


def test_one_value_is_every_quantile():
    buckets = {bucket_of(0.2): 1}

    assert quantile(buckets, 0.5) == pytest.approx(0.2, rel=0.1)
    assert quantile(buckets, 0.99) == pytest.approx(0.2, rel=0.1)


def test_the_ends_have_buckets_too():
    assert bucket_of(0.0) == 0
    assert bucket_of(float("inf")) == len(BOUNDS)
    assert quantile({bucket_of(1e9): 1}, 0.5) == pytest.approx(BOUNDS[-1], rel=0.1)
