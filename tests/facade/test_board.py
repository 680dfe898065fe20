"""What the board shows of routes."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_strangler import evidence, feature_flags
from django_strangler.facade import Route, route, showing
from django_strangler.monitoring import board
from django_strangler.monitoring.board import Verdict

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("bare_board")]

FLAG = "payments-v2"


def declare(name: str = "payments-api", **options: str) -> Route:
    """A route in the module ``routes`` of the app payments."""
    options = {"prefix": f"/api/{name}/", "service": "payments", **options}
    module = {"__name__": "payments.routes", "route": route}
    exec(f"made = route({name!r}, flag={FLAG!r}, **{options!r})", module)
    return module["made"]


def row(domain: str = "payments") -> board.Row:
    (found,) = board.rows(domain)
    return found


def test_without_routes_nothing_is_shown_or_asked(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert list(showing.shown()) == []


def test_a_route_is_shown_in_the_domain_that_declares_it(
    django_assert_num_queries,
):
    feature_flags.set_rollout(FLAG, 25)
    declare()
    declare("refunds-api", prefix="", regex="^/../refunds/")

    with django_assert_num_queries(1):
        first, second = showing.shown()

    assert (first.domain, first.name) == ("payments", "payments-api")
    assert first.text == "/api/payments-api/ to payments, 25 % modern by payments-v2"
    assert second.text.startswith("^/../refunds/ to payments, 25 % modern")


def test_its_flag_stands_beside_it_and_says_what_is_next():
    feature_flags.set_rollout(FLAG, 25)
    declare()

    found = row()

    assert [each.name for each in found.shown["Flags"]] == [FLAG]
    assert found.next == ("Raise payments-v2 from 25 %.",)


def test_a_route_whose_flag_is_missing_is_not_done():
    declare()

    found = row()

    assert found.verdict is Verdict.GO_ON
    assert found.reasons == (
        "The flag payments-v2 of payments-api does not exist, so legacy "
        "serves everybody.",
    )
    assert found.next == ("Create the flag: manage.py flag set payments-v2 0",)


@pytest.mark.parametrize(
    ("side", "ok", "reason"),
    [
        ("legacy", True, "was seen on the legacy side"),
        ("modern", False, "failed on"),  # A fallback is such a failure.
    ],
)
def test_legacy_and_what_fell_back_to_it_must_fall_silent(side, ok, reason):
    feature_flags.set_rollout(FLAG, 100)
    source = declare().source
    evidence.note(source, side=side, ok=ok)
    evidence.flush()

    found = row()

    assert found.verdict is Verdict.GO_ON
    assert any(source in each and reason in each for each in found.reasons)


def test_a_flag_that_only_compares_need_not_reach_everybody():
    feature_flags.set_rollout("payments-shadow", 10)
    feature_flags.set_rollout(FLAG, 100)
    declare(shadow="payments-shadow")

    found = row()

    names = {each.name for each in found.shown["Flags"]}
    assert names == {FLAG, "payments-shadow"}
    assert "payments-shadow" not in " ".join((*found.reasons, *found.next))


def test_routes_cost_the_board_one_query_however_many_there_are():
    feature_flags.set_rollout(FLAG, 25)
    declare()
    with CaptureQueriesContext(connection) as one:
        board.rows()
    for number in range(20):
        declare(f"api-{number}")

    with CaptureQueriesContext(connection) as many:
        board.rows()

    assert len(many) == len(one)
