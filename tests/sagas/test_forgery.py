"""Whose replies and timeouts move a saga, and what becomes of all others."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import transaction
from django.test import override_settings

from django_strangler.events import Publisher
from django_strangler.inbox.failures import Reason
from django_strangler.inbox.handling import handle
from django_strangler.inbox.subscribers import registry
from django_strangler.models import OutboxEvent
from django_strangler.sagas import (
    Saga,
    SagaRun,
    moving,
    pivot,
    saga,
    start_saga,
    step,
)
from django_strangler.sagas.exceptions import Forged, InvalidSaga, UnknownSaga
from django_strangler.sagas.messages import REPLY, TIMEOUT
from django_strangler.sagas.models import States
from django_strangler.sagas.testing import SILENT, play
from tests.consumer.conftest import broker, consume, routed
from tests.waiting import wait_for

__all__ = ["broker", "consume", "routed"]

DONE = {"outcome": "done", "data": {}, "reason": ""}
VOUCHED = Publisher(name="payments", vouched=True)


def command(run, type="stock.reserve"):
    rows = OutboxEvent.objects.using(run._state.db).filter(key=str(run.saga_id))
    return rows.filter(type=type).latest("id").as_event()


def reply_to(event, source=VOUCHED, **headers):
    """What somebody publishes who has the command's headers, but for these."""
    given = {**event.headers, **headers}
    return replace(
        event, id=uuid4(), type=REPLY, payload=DONE, source=source, headers=given
    )


def take(event):
    [subscriber] = registry.bound_to(event.type)
    return handle(subscriber, event)


def turn(run):
    return SagaRun.objects.using(run._state.db).get(pk=run.pk).turn


def counted(counter, *labels):
    return counter.values().get(labels, 0)


def test_who_was_asked_may_answer(shop):
    run = shop.start()

    take(reply_to(command(run)))

    assert turn(run) == 2


@pytest.mark.parametrize(
    "headers",
    [
        {"strangler-saga-seal": ""},
        {"strangler-saga-seal": "é" * 32},
        {"strangler-saga-step": "charge"},
        {"strangler-saga-turn": 2},
        {"strangler-saga-attempt": 1},
    ],
)
def test_who_was_not_asked_does_not_move_a_saga(shop, headers):
    run = shop.start()
    before = counted(moving.forged, "checkout", "reply")

    with pytest.raises(Forged, match="seal") as raised:
        take(reply_to(command(run), **headers))

    assert raised.value.reason is Reason.UNTRUSTED
    assert turn(run) == 1
    assert counted(moving.forged, "checkout", "reply") == before + 1


def test_who_was_asked_cannot_end_the_wait_nor_answer_another_step(shop):
    run = shop.start()
    asked = command(run)
    late = replace(reply_to(asked), type=TIMEOUT, payload={})

    with pytest.raises(Forged):
        take(late)
    take(reply_to(asked))
    with pytest.raises(Forged):
        take(reply_to(asked, **{"strangler-saga-turn": 2}))

    assert turn(run) == 2


def test_the_announcement_of_a_stuck_saga_is_no_help_to_free_it(shop):
    run = play(shop.start(), {"payment.charge": SILENT})
    assert run.state == States.STUCK

    with pytest.raises(Forged):
        take(reply_to(command(run, "saga.stuck")))

    assert SagaRun.objects.using(shop.alias).get().state == States.STUCK


def test_a_seal_outlives_its_key_as_a_fallback(shop):
    run = shop.start()
    asked = command(run)

    with override_settings(SECRET_KEY="new"), pytest.raises(Forged, match="FALLBACKS"):
        take(reply_to(asked))
    with override_settings(
        SECRET_KEY="new", SECRET_KEY_FALLBACKS=[settings.SECRET_KEY]
    ):
        take(reply_to(asked))

    assert turn(run) == 2


@pytest.fixture
def trusting(alias):
    @saga("careful")
    class Careful(Saga):
        charge = pivot("payment.charge", trusted=["payments", "payments-2"])


@pytest.mark.parametrize(
    ("source", "is_believed"),
    [
        (VOUCHED, True),
        (Publisher(name="payments-2", vouched=True), True),
        (Publisher(name="payments", vouched=False), False),
        (Publisher(name="stock", vouched=True), False),
        # As with local://, where the project calls its own subscribers.
        (Publisher(name="monolith", vouched=True), True),
        (None, True),
    ],
)
def test_a_step_may_name_who_answers(shop, trusting, source, is_believed):
    with transaction.atomic(using=shop.alias):
        run = start_saga("careful", correlation="order-1")
    event = reply_to(command(run, "payment.charge"), source)

    if is_believed:
        take(event)
    else:
        with pytest.raises(Forged, match="trusts payments, payments-2"):
            take(event)

    assert turn(run) == (2 if is_believed else 1)


@pytest.mark.parametrize("trusted", ["payments", [""], [7]])
def test_who_is_trusted_is_a_list_of_names(trusted):
    with pytest.raises(InvalidSaga, match="list of the"):
        step("payment.charge", trusted=trusted)


def test_another_project_s_saga_is_left_alone(shop):
    run = shop.start()
    with override_settings(STRANGLER={"SOURCE": "shop"}, SECRET_KEY="theirs"):
        other = shop.start("order-2")
        asked = command(other)
    SagaRun.objects.using(shop.alias).filter(pk=other.pk).delete()
    before = counted(moving.ignored, "of another project", "reply")

    assert take(reply_to(asked))

    assert counted(moving.ignored, "of another project", "reply") == before + 1
    assert turn(run) == 1


def test_a_project_that_changed_its_source_still_knows_its_sagas(shop):
    run = shop.start()

    with override_settings(STRANGLER={"SOURCE": "renamed"}):
        take(reply_to(command(run)))

    assert turn(run) == 2


def test_a_project_of_the_same_name_is_told_what_to_do(shop):
    run = shop.start()
    reply = reply_to(command(run))
    SagaRun.objects.using(shop.alias).all().delete()

    with pytest.raises(UnknownSaga, match="give each project its own"):
        take(reply)


class TestOverRabbitMQ:
    """The same by way of the broker, which says who has published."""

    @pytest.fixture
    def alias(self, sqlite_db, routed):
        return routed(sqlite_db)

    def publish(self, broker, event, **properties):
        return broker.publish(
            event.payload,
            type=event.type,
            headers=dict(event.headers),
            **properties,
        )

    def test_a_forged_reply_is_a_dead_letter_and_the_real_one_counts(
        self, shop, broker, consume
    ):
        run = shop.start()
        asked = command(run)
        running = consume("saga.*")
        forged = reply_to(asked, **{"strangler-saga-seal": "0" * 32})

        id = self.publish(broker, forged, user_id=broker.user)
        properties, _ = wait_for(broker.get, 30, message="a dead letter")

        assert properties.message_id == id
        assert properties.headers["strangler-failed-reason"] == "untrusted"
        assert "seal" in properties.headers["strangler-failed-error"]
        self.publish(broker, reply_to(asked), user_id=broker.user)
        wait_for(lambda: turn(run) == 2, 30)
        assert (running.totals.dead, running.totals.retried) == (1, 0)

    def test_the_broker_vouches_for_whom_a_step_trusts(self, shop, broker, consume):
        @saga("careful")
        class Careful(Saga):
            charge = pivot("payment.charge", trusted=[broker.user])

        with transaction.atomic(using=shop.alias):
            run = start_saga("careful", correlation="order-1")
        asked = command(run, "payment.charge")
        consume("saga.*")

        id = self.publish(broker, reply_to(asked), app_id=broker.user)
        properties, _ = wait_for(broker.get, 30, message="a dead letter")

        assert properties.message_id == id
        assert properties.headers["strangler-failed-reason"] == "untrusted"
        self.publish(broker, reply_to(asked), user_id=broker.user)
        wait_for(lambda: turn(run) == 2, 30)

    def test_two_projects_share_an_exchange(self, shop, broker, consume):
        """Each gets the other's replies and timeouts, and none is a dead letter."""
        run = shop.start()
        with override_settings(STRANGLER={"SOURCE": "shop"}, SECRET_KEY="theirs"):
            other = shop.start("order-2")
            theirs = [reply_to(command(other)), command(other, TIMEOUT)]
        SagaRun.objects.using(shop.alias).filter(pk=other.pk).delete()
        running = consume("saga.*")

        for event in theirs:
            self.publish(broker, event)
        self.publish(broker, reply_to(command(run)))

        wait_for(lambda: turn(run) == 2, 30)
        wait_for(lambda: running.totals.handled == 3, 30)
        assert (running.totals.dead, running.totals.retried) == (0, 0)
