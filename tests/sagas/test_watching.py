"""What people and machines are told of sagas, and what the messages say."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import transaction

from django_strangler import evidence
from django_strangler.clock import DatabaseNow
from django_strangler.findings import Level
from django_strangler.models import OutboxEvent
from django_strangler.sagas import SagaRun, moving, start_saga, watching
from django_strangler.sagas.testing import LATE, SILENT, TWICE, play, refusing


def messages(alias, type):
    rows = OutboxEvent.objects.using(alias).filter(type=type).order_by("id")
    return list(rows)


def test_a_saga_whose_timeout_does_not_come_is_said(shop):
    shop.start("order-1")
    SagaRun.objects.using(shop.alias).update(due_at=DatabaseNow(-3600))

    [stuck, silent] = watching.find()

    assert (stuck.level, silent.level) == (Level.FINE, Level.TROUBLE)
    assert "checkout order-1 at 'reserve' was due" in silent.text
    assert "relay" in silent.todo


@pytest.mark.django_db
def test_a_check_says_that_a_saga_has_no_code(registries):
    from django_strangler.sagas import Saga, saga, step

    @saga("checkout")
    class Checkout(Saga):
        reserve = step("stock.reserve")

    with transaction.atomic():
        start_saga("checkout", correlation="order-1")
    call_command("check", databases=["default"])
    SagaRun.objects.update(version=9)

    with pytest.raises(SystemCheckError, match=r"strangler_sagas\.E001"):
        call_command("check", databases=["default"])


def test_ends_are_counted_and_noted(shop):
    before = dict(moving.moves.values())
    checked = evidence.seen("saga:checkout").get("modern")

    play(shop.start("order-1"))
    play(shop.start("order-2"), {"payment.charge": refusing()})
    play(shop.start("order-3"), {"payment.charge": SILENT})

    grown = {
        state: number - before.get((name, state), 0)
        for (name, state), number in moving.moves.values().items()
        if name == "checkout" and number != before.get((name, state), 0)
    }
    assert grown == {
        "started": 3,
        "completed": 1,
        "undoing": 1,
        "undone": 1,
        "stuck": 1,
    }
    seen = evidence.seen("saga:checkout")["modern"]
    assert seen.checked - (checked.checked if checked else 0) == 3
    assert seen.failed - (checked.failed if checked else 0) == 1


def test_what_comes_too_late_is_counted(shop):
    before = dict(moving.ignored.values())

    play(shop.start(), {"ledger.book": LATE, "stock.reserve": TWICE})

    grown = {
        key: number - before.get(key, 0)
        for key, number in moving.ignored.values().items()
    }
    assert grown["checkout", "reply"] >= 2


def test_a_retry_and_the_undo_are_the_same_operation_in_other_events(shop):
    play(shop.start(), {"ledger.book": SILENT})

    tries = messages(shop.alias, "ledger.book")
    everything = [*tries, *messages(shop.alias, "ledger.unbook")]

    assert [row.headers["strangler-saga-attempt"] for row in tries] == [0, 1]
    assert len({row.headers["strangler-saga-turn"] for row in tries}) == 1
    assert len({row.headers["strangler-saga-op"] for row in everything}) == 1
    assert len({row.event_id for row in everything}) == len(everything)
    assert len({row.key for row in everything}) == 1


def test_only_what_has_no_other_way_says_that_it_must_be(shop):
    shop.poor = True
    play(shop.start("order-1"))
    shop.poor = False
    play(shop.start("order-2"))

    must = {
        row.type
        for row in OutboxEvent.objects.using(shop.alias)
        if row.headers.get("strangler-saga-must")
    }

    assert {"ledger.unbook", "stock.release", "shipping.order"} <= must
    assert not {"stock.reserve", "ledger.book", "payment.charge"} & must
