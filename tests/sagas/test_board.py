"""What the board shows of sagas."""

from __future__ import annotations

from uuid import uuid4

import pytest

from django_strangler.monitoring import board
from django_strangler.monitoring.board import Verdict
from django_strangler.sagas import Saga, SagaRun, saga, step, watching
from django_strangler.sagas.models import States

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def checkout(registries):
    class Checkout(Saga):
        reserve = step("stock.reserve", undo="stock.release")

    Checkout.__module__ = "payments.sagas"
    return saga("checkout")(Checkout)


def run(state: States, name: str = "checkout") -> None:
    id = uuid4()
    SagaRun.objects.create(
        saga_id=id,
        name=name,
        version=1,
        correlation="order-1",
        digest=id.hex * 2,
        state=state,
        turn=1,
    )


def test_what_has_ended_is_not_shown(django_assert_num_queries):
    run(States.COMPLETED)
    run(States.UNDONE)

    with django_assert_num_queries(1):
        assert list(watching.shown()) == []


def test_sagas_under_way_are_counted_in_their_domain(django_assert_num_queries):
    run(States.FORWARD)
    run(States.UNDOING)

    with django_assert_num_queries(1):
        (found,) = watching.shown()

    assert (found.domain, found.name) == ("payments", "checkout")
    assert found.text == "2 under way"
    assert found.hold == ()


def test_a_stuck_one_holds_its_domain():
    run(States.STUCK)
    run(States.FORWARD)

    (found,) = board.rows("payments")

    assert found.verdict is Verdict.HOLD
    assert found.reasons == (
        "1 of the saga checkout is stuck. Open Sagas in the admin: retry the step, "
        "skip its undo, or resolve it by hand.",
    )


def test_a_stuck_one_without_code_holds_as_well():
    run(States.STUCK, name="forgotten")

    (found,) = board.rows("")

    assert found.verdict is Verdict.HOLD
    assert "saga forgotten is stuck" in found.reasons[0]
