"""Where two answers differ."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType

import pytest
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.utils.safestring import mark_safe
from payments.models import Payment
from users.models import User

from django_strangler.experiments.comparing import Kind, differences, is_ignored
from django_strangler.experiments.noise import is_noise
from django_strangler.experiments.plain import Incomparable, TooLarge, plain


@dataclass
class Line:
    sku: str
    qty: int


def found(control: object, candidate: object) -> list[tuple[str, Kind]]:
    return [
        (each.path, each.kind) for each in differences(plain(control), plain(candidate))
    ]


BERLIN = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("control", "candidate"),
    [
        (None, None),
        (1, 1),
        (0.1 + 0.2, 0.3),
        (Decimal("1.0"), Decimal("1.00")),
        (Decimal(10), 10),
        ("a", "a"),
        (mark_safe("a"), "a"),
        ([1, (2, 3)], [1, [2, 3]]),
        ({"b": 1, "a": 2}, {"a": 2, "b": 1}),
        ({"a": 1}, MappingProxyType({"a": 1})),
        ({1, 2, 3}, {3, 2, 1}),
        (
            datetime(2026, 1, 1, 12, tzinfo=timezone.utc),
            datetime(2026, 1, 1, 14, tzinfo=BERLIN),
        ),
        ([Line("a", 1)], [Line("a", 1)]),
        (b"\x00\xff", bytearray(b"\x00\xff")),
        (float("nan"), float("nan")),
        (JsonResponse({"a": 1, "b": 2}), JsonResponse({"b": 2, "a": 1})),
    ],
)
def test_what_means_the_same_does_not_differ(control, candidate):
    assert found(control, candidate) == []


@pytest.mark.parametrize(
    ("control", "candidate", "expected"),
    [
        (1, 2, ("/", Kind.VALUE)),
        (1, "1", ("/", Kind.TYPE)),
        (1, True, ("/", Kind.TYPE)),
        (Decimal("5"), "5", ("/", Kind.TYPE)),
        (None, {}, ("/", Kind.TYPE)),
        ({"a": 1}, {}, ("/a", Kind.MISSING)),
        ({}, {"a": 1}, ("/a", Kind.EXTRA)),
        ({"a/b": 1}, {"a/b": 2}, ("/a~1b", Kind.VALUE)),
        ([1, 2], [1], ("/", Kind.LENGTH)),
        ([1, 2, 3], [3, 2, 1], ("/", Kind.ORDER)),
        ({1, 2}, {1, 2, 3}, ("/*", Kind.EXTRA)),
        (
            {"lines": [Line("a", 1), Line("b", 2)]},
            {"lines": [Line("a", 1), Line("b", 3)]},
            ("/lines/*/qty", Kind.VALUE),
        ),
        (
            HttpResponse("a", status=200),
            HttpResponse("a", status=201),
            ("/status", Kind.VALUE),
        ),
        (
            JsonResponse({"total": 1}),
            JsonResponse({"total": 2}),
            ("/body/total", Kind.VALUE),
        ),
    ],
)
def test_a_difference_has_a_place_and_a_kind(control, candidate, expected):
    assert found(control, candidate) == [expected]


def test_model_instances_are_compared_by_their_fields():
    one, two = User(pk=1, email="a@example.com"), User(pk=1, email="b@example.com")

    assert one == two  # As Django has it.
    assert ("/email", Kind.VALUE) in found(one, two)


def test_an_answer_of_another_model_is_another_type():
    assert found(User(pk=1), Payment(pk=1)) == [("/", Kind.TYPE)]


def test_a_value_that_holds_itself_ends():
    loop: list[object] = []
    loop.append(loop)

    assert found(loop, loop) == []


def test_what_is_too_large_is_said_to_be():
    with pytest.raises(TooLarge):
        plain(list(range(30_000)))
    with pytest.raises(TooLarge):
        plain("x" * 50_000_000)


@pytest.mark.parametrize(
    "value", [iter([1]), (n for n in [1]), StreamingHttpResponse()]
)
def test_what_can_be_read_once_is_not_read(value):
    with pytest.raises(Incomparable):
        plain(value)


def test_a_pair_that_differs_everywhere_has_a_bounded_number_of_differences():
    control, candidate = ({f"k{n}": x for n in range(1000)} for x in (1, 2))

    assert len(found(control, candidate)) == 50


@pytest.mark.parametrize(
    ("path", "pattern", "ignored"),
    [
        ("/updated_at", "/updated_at", True),
        ("/lines/*/id", "/lines/*/id", True),
        ("/lines/*/id", "/lines", True),
        ("/lines/*/id", "/*/*/id", True),
        ("/lines/*/id", "/lines/*/qty", False),
        ("/line", "/lines", False),
    ],
)
def test_a_pattern_names_a_place_or_what_it_lies_in(path, pattern, ignored):
    assert is_ignored(path, [pattern]) is ignored


@pytest.mark.parametrize(
    ("found", "runs", "noise", "calibrated", "expected"),
    [
        (30, 1000, 3, 100, True),  # 3 % both.
        (35, 1000, 3, 100, True),  # 3.5 % against 3 %: within a fifth.
        (100, 1000, 3, 100, False),
        (5, 1000, 0, 100, False),  # The control is never noisy there.
        (5, 1000, 0, 0, False),  # Never calibrated.
        (0, 1000, 3, 100, True),
    ],
)
def test_noise_is_what_the_control_shows_as_well(
    found, runs, noise, calibrated, expected
):
    assert (
        is_noise(found=found, runs=runs, noise=noise, calibrated=calibrated) is expected
    )
