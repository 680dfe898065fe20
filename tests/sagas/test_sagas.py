"""A saga ends completed, undone or stuck; nothing is undone that was not done."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import transaction

from django_strangler.findings import Level
from django_strangler.inbox.handling import handle
from django_strangler.inbox.subscribers import registry
from django_strangler.models import OutboxEvent
from django_strangler.sagas import (
    Saga,
    SagaRun,
    participant,
    pivot,
    resolving,
    saga,
    start_saga,
    step,
    watching,
)
from django_strangler.sagas.exceptions import InvalidSaga, UnknownSaga
from django_strangler.sagas.models import SagaAct, SagaStep, States
from django_strangler.sagas.retention import prune
from django_strangler.sagas.testing import LATE, SILENT, TWICE, play, refusing
from tests.inbox.databases import effects


def history(run):
    rows = SagaStep.objects.using(run._state.db).filter(run=run)
    return [f"{row.step} {row.outcome}" for row in rows]


def types(alias):
    rows = OutboxEvent.objects.using(alias).order_by("id")
    return [each for each in rows.values_list("type", flat=True) if "saga." in each]


def test_each_step_is_done_in_turn(shop):
    run = play(shop.start(orderId=7))

    assert run.state == States.COMPLETED
    assert shop.calls == ["reserve", "book", "charge", "ship"]
    assert run.data["orderId"] == 7
    assert run.data["reservation"]
    assert history(run) == ["reserve done", "book done", "charge done", "ship done"]
    assert types(shop.alias)[-1] == "saga.completed"


def test_a_refusal_undoes_what_was_done_the_newest_first(shop):
    shop.poor = True

    run = play(shop.start())

    assert run.state == States.UNDONE
    assert shop.calls == ["reserve", "book", "charge", "unbook", "release"]
    assert effects(shop.alias, "charge") == 0  # Rolled back.
    assert run.reason == "There is no money."
    assert types(shop.alias)[-1] == "saga.undone"


def test_what_is_not_answered_is_tried_again(shop):
    run = play(shop.start(), {"stock.reserve": [SILENT, SILENT]})

    assert run.state == States.COMPLETED
    assert effects(shop.alias, "reserve") == 1


def test_what_is_never_answered_is_undone_as_well_and_nothing_is_undone(shop):
    run = play(shop.start(), {"ledger.book": SILENT})

    assert run.state == States.UNDONE
    assert shop.calls == ["reserve", "release"]
    assert history(run) == [
        "reserve done",
        "book unknown",
        "book null",
        "reserve undone",
    ]


def test_a_command_that_comes_after_its_undo_is_not_done(shop):
    run = play(shop.start(), {"ledger.book": LATE})

    assert run.state == States.UNDONE
    assert shop.calls == ["reserve", "release"]


def test_a_command_that_comes_twice_is_done_once(shop):
    every = ["stock.reserve", "ledger.book", "payment.charge", "shipping.order"]

    run = play(shop.start(), dict.fromkeys(every, TWICE))

    assert run.state == States.COMPLETED
    assert shop.calls == ["reserve", "book", "charge", "ship"]


def test_an_undo_that_comes_twice_is_done_once(shop):
    shop.poor = True

    run = play(shop.start(), {"ledger.unbook": TWICE, "stock.release": TWICE})

    assert run.state == States.UNDONE
    assert shop.calls.count("unbook") == shop.calls.count("release") == 1


def test_a_pivot_without_an_answer_is_for_a_person(shop):
    run = play(shop.start(), {"payment.charge": SILENT})

    assert run.state == States.STUCK
    assert "pivot" in run.reason
    assert shop.calls == ["reserve", "book"]
    assert types(shop.alias)[-1] == "saga.stuck"
    assert watching_levels() == [Level.TROUBLE]


def watching_levels():
    return [each.level for each in watching.find()]


def test_a_late_answer_frees_a_stuck_saga(shop):
    run = play(shop.start(), {"payment.charge": LATE})

    assert run.state == States.COMPLETED
    assert shop.calls == ["reserve", "book", "charge", "ship"]


def test_after_the_pivot_a_step_is_tried_until_it_is_done(shop):
    run = play(shop.start(), {"shipping.order": [SILENT, SILENT]})

    assert run.state == States.COMPLETED


def test_after_the_pivot_a_silent_step_alarms_and_goes_on_being_tried(shop):
    run = play(shop.start(), {"shipping.order": SILENT})
    assert run.state == States.STUCK
    assert run.due_at is not None  # Its next timeout will come.

    run = play(resolving.retry(run, by="ada", why="Shipping is back."))

    assert run.state == States.COMPLETED


def test_a_refusal_after_the_pivot_is_stuck(shop):
    run = play(shop.start(), {"shipping.order": refusing("no address")})

    assert run.state == States.STUCK
    assert "no address" in run.reason


def test_what_was_refused_behind_the_pivot_is_tried_anew_when_a_person_asks(shop):
    shop.closed = True
    run = play(shop.start())
    assert (run.state, run.reason[-7:]) == (States.STUCK, "Closed.")

    shop.closed = False
    run = play(resolving.retry(run, by="ada", why="It is open again."))

    assert run.state == States.COMPLETED
    assert effects(shop.alias, "ship") == 1


def test_an_undo_that_was_refused_is_tried_anew_when_a_person_asks(shop):
    shop.poor = shop.closed = True
    run = play(shop.start())
    assert (run.state, run.undoing, run.step) == (States.STUCK, True, "book")

    shop.closed = False
    run = play(resolving.retry(run, by="ada", why="The month is open again."))

    assert run.state == States.UNDONE
    assert effects(shop.alias, "unbook") == effects(shop.alias, "release") == 1


def test_a_refusal_before_the_pivot_stays_one(shop):
    shop.poor = True
    run = play(shop.start(), {"payment.charge": TWICE})

    assert run.state == States.UNDONE
    assert shop.calls.count("charge") == 1


def test_an_undo_without_an_answer_stops_there_because_order_matters(shop):
    shop.poor = True

    run = play(shop.start(), {"ledger.unbook": SILENT})

    assert run.state == States.STUCK
    assert "release" not in shop.calls


def test_a_person_may_skip_an_undo(shop):
    shop.poor = True
    run = play(shop.start(), {"ledger.unbook": SILENT})

    run = play(resolving.skip_undo(run, by="ada", why="I have unbooked it."))

    assert run.state == States.UNDONE
    assert shop.calls[-1] == "release"
    line = SagaStep.objects.using(shop.alias).get(outcome="skipped")
    assert (line.by, line.reason) == ("ada", "I have unbooked it.")


@pytest.mark.parametrize("completed", [True, False])
def test_a_person_may_resolve_it_by_hand(shop, completed):
    run = play(shop.start(), {"payment.charge": SILENT})

    run = resolving.resolve(run, completed=completed, by="ada", why="Done by phone.")

    assert run.state == (States.COMPLETED if completed else States.UNDONE)


def test_a_person_needs_a_reason_and_a_saga_that_is_stuck(shop):
    run = play(shop.start(), {"payment.charge": SILENT})

    with pytest.raises(InvalidSaga, match="why"):
        resolving.retry(run, by="ada", why=" ")
    with pytest.raises(InvalidSaga, match="skipped"):
        resolving.skip_undo(run, by="ada", why="x")
    resolving.retry(run, by="ada", why="x")
    with pytest.raises(InvalidSaga, match="not stuck"):
        resolving.retry(run, by="ada", why="x")


def test_nothing_that_a_saga_publishes_lacks_a_subscriber(shop):
    play(shop.start("order-1"))
    play(shop.start("order-2"), {"payment.charge": refusing()})
    play(shop.start("order-3"), {"payment.charge": SILENT})

    published = set(types(shop.alias))

    assert {"saga.completed", "saga.undone", "saga.stuck"} < published
    assert all(registry.bound_to(type) for type in published)


def test_a_saga_is_started_once_per_thing(shop):
    first, second = shop.start("order-1"), shop.start("order-1")
    other = shop.start("Order-1")

    assert first.pk == second.pk != other.pk
    play(first)
    again = shop.start("order-1")
    assert (again.pk, again.state) == (first.pk, States.COMPLETED)


def test_what_rolls_back_starts_nothing(shop):
    with transaction.atomic(using=shop.alias):
        start_saga("checkout", correlation="order-1")
        transaction.set_rollback(True, using=shop.alias)

    assert not SagaRun.objects.using(shop.alias).exists()
    assert not OutboxEvent.objects.using(shop.alias).exists()


def test_a_reply_for_no_saga_is_no_silence(shop):
    play(shop.start())
    row = OutboxEvent.objects.using(shop.alias).filter(type="saga.reply").first()
    SagaRun.objects.using(shop.alias).all().delete()
    from dataclasses import replace

    [subscriber] = registry.bound_to("saga.reply")
    with pytest.raises(UnknownSaga, match="pruned"):
        handle(subscriber, replace(row.as_event(), id=uuid4()))


def test_a_running_saga_keeps_its_version(shop):
    run = shop.start()

    @saga("checkout", version=2)
    class Shorter(Saga):
        charge = pivot("payment.charge")

    assert play(run).version == 1
    assert shop.calls == ["reserve", "book", "charge", "ship"]
    assert shop.start("order-2").version == 2


def test_sagas_without_code_are_said(shop):
    shop.start()
    SagaRun.objects.using(shop.alias).update(version=9)

    assert list(watching.without_code()) == [
        "1 of the saga 'checkout', version 9, have no code."
    ]


def test_ended_sagas_are_forgotten_and_no_others(shop):
    from django_strangler.clock import DatabaseNow

    play(shop.start("order-1"))
    play(shop.start("order-2"), {"payment.charge": SILENT})
    year = 365 * 86400
    SagaRun.objects.using(shop.alias).update(updated_at=DatabaseNow(-year))
    SagaAct.objects.using(shop.alias).update(at=DatabaseNow(-year))

    assert sum(prune()) > 0

    [left] = SagaRun.objects.using(shop.alias).all()
    assert left.correlation == "order-2"
    assert not SagaAct.objects.using(shop.alias).exists()


def test_data_stays_small(shop):
    with pytest.raises(InvalidSaga, match="ids"):
        shop.start(text="x" * 20_000)


def test_what_is_declared_wrong_is_said_at_once(alias):
    with pytest.raises(InvalidSaga, match="behind the pivot"):

        @saga("one")
        class UndoneLate(Saga):
            charge = pivot("payment.charge")
            ship = step("shipping.order", undo="shipping.cancel")

    with pytest.raises(InvalidSaga, match="no steps"):

        @saga("two")
        class Empty(Saga): ...

    with pytest.raises(InvalidSaga, match="command"):
        step("reserve")
    with pytest.raises(InvalidSaga, match="name"):
        saga("A b")
    with pytest.raises(UnknownSaga, match="Known: none"):
        start_saga("nothing", correlation="1")

    @participant("stock.reserve", name="stock")
    def reserve(command): ...

    with pytest.raises(InvalidSaga, match="undo="):
        reserve.undo(reserve)
