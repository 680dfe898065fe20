from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.core import mail
from django.core.management import call_command
from django.utils import timezone
from notifications.models import Receipt
from payments import rollout
from payments.models import LedgerEntry, Payment
from payments.tasks import expire_stale_payments
from users.models import KycCheck

from django_strangler import feature_flags

pytestmark = pytest.mark.django_db


def test_creating_a_payment_publishes_it(post, published, make_user):
    user = make_user()

    response = post(
        "payments:list", {"user": user.pk, "amount": "12.50", "currency": "EUR"}
    )

    assert response.status_code == 201
    payment = Payment.objects.get()
    assert response.json()["id"] == payment.pk
    assert payment.is_pending
    [(type, payload)] = published()
    assert type == "payment.created"
    assert payload["paymentId"] == payment.pk


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("user", 0),
        ("amount", "0"),
        ("amount", "12.505"),
        ("amount", "much"),
        ("currency", "XXX"),
    ],
)
def test_a_payment_with_a_bad_field_is_refused(
    post, published, make_user, field, value
):
    good = {"user": make_user().pk, "amount": "12.50", "currency": "EUR"}

    response = post("payments:list", {**good, field: value})

    assert response.status_code == 400
    assert list(response.json()["errors"]) == [field]
    assert not Payment.objects.exists()
    assert published() == []


@pytest.mark.parametrize("body", ["{", "[]", "", b"\xff", "[" * 100_000])
def test_a_body_that_is_no_object_is_refused(post, body):
    response = post("payments:list", body)

    assert response.status_code == 400
    assert "The body must be a JSON object." in response.json()["errors"]["__all__"]


def test_a_reference_is_taken_once(post, make_payment):
    first = make_payment(reference="order-1")

    response = post(
        "payments:list",
        {
            "user": first.user_id,
            "amount": "1.00",
            "currency": "EUR",
            "reference": "order-1",
        },
    )

    assert response.status_code == 409


def test_a_large_payment_needs_an_identity_check(post, make_user):
    user = make_user()
    large = {"user": user.pk, "amount": "10000.01", "currency": "EUR"}

    before = post("payments:list", large)
    KycCheck.objects.create(user=user, status=KycCheck.Status.PASSED)
    after = post("payments:list", large)

    assert before.status_code == 400
    assert after.status_code == 201


def test_completing_a_payment_books_mails_and_publishes_it(
    post, published, make_payment
):
    payment = make_payment()

    response = post("payments:complete", payment_id=payment.pk)

    assert response.json() == {"status": "completed"}
    payment.refresh_from_db()
    assert payment.completed_at is not None
    assert payment.user.total_paid("EUR") == Decimal("12.50")
    assert LedgerEntry.objects.get().amount == Decimal("12.50")
    assert [message.to for message in mail.outbox] == [[payment.user.email]]
    assert Receipt.objects.get().payment == payment
    [(type, payload)] = published()
    assert type == "payment.completed"
    assert Decimal(str(payload.pop("amount"))) == Decimal("12.50")
    assert payload == {
        "paymentId": payment.pk,
        "userId": payment.user_id,
        "currency": "EUR",
    }


def test_a_user_who_has_moved_gets_no_mail_from_here(post, make_payment):
    payment = make_payment()
    feature_flags.set_rollout(rollout.NOTIFICATIONS, percentage=100, by="test", why="")

    post("payments:complete", payment_id=payment.pk)

    assert mail.outbox == []


def test_a_payment_is_completed_once(post, published, make_payment):
    payment = make_payment()

    post("payments:complete", payment_id=payment.pk)
    response = post("payments:complete", payment_id=payment.pk)

    assert response.status_code == 409
    assert len(published()) == 1
    assert len(mail.outbox) == 1


def test_an_unknown_payment_is_not_found(get, post):
    assert get("payments:detail", payment_id=1).status_code == 404
    assert post("payments:complete", payment_id=1).status_code == 404


def test_failing_a_payment_publishes_the_reason(post, published, make_payment):
    payment = make_payment()

    response = post("payments:fail", {"reason": "no funds"}, payment_id=payment.pk)

    assert response.json() == {"status": "failed"}
    [(type, payload)] = published()
    assert type == "payment.failed"
    assert payload["reason"] == "no funds"


def test_failing_a_payment_needs_a_reason(post, make_payment):
    payment = make_payment()

    response = post("payments:fail", {}, payment_id=payment.pk)

    assert response.status_code == 400
    payment.refresh_from_db()
    assert payment.is_pending


def test_a_payment_is_refunded_when_all_of_it_is_given_back(
    post, published, make_payment
):
    payment = make_payment(status=Payment.Status.COMPLETED)

    states = [
        post("payments:refund", {"amount": amount}, payment_id=payment.pk).json()
        for amount in ("10.00", "2.50")
    ]

    assert [state["status"] for state in states] == ["completed", "refunded"]
    assert [type for type, _ in published()] == ["payment.refunded"] * 2
    assert len(mail.outbox) == 2
    assert [entry.amount for entry in LedgerEntry.objects.order_by("id")] == [
        Decimal("-10.00"),
        Decimal("-2.50"),
    ]


def test_no_more_is_refunded_than_was_paid(post, make_payment):
    payment = make_payment(status=Payment.Status.COMPLETED)

    response = post("payments:refund", {"amount": "12.51"}, payment_id=payment.pk)

    assert response.status_code == 409


def test_payments_are_listed_by_user_and_status(get, make_payment):
    mine = make_payment()
    make_payment(user=mine.user, status=Payment.Status.FAILED)
    make_payment()

    response = get("payments:list", {"user": mine.user_id, "status": "pending"})

    assert [each["id"] for each in response.json()["payments"]] == [mine.pk]
    assert get("payments:list", {"user": "me"}).status_code == 400


def test_a_payment_shows_its_refunds(get, make_payment):
    payment = make_payment()
    payment.refunds.create(amount=1, reason="late")

    response = get("payments:detail", payment_id=payment.pk)

    assert response.json()["amount"] == "12.50"
    assert [each["reason"] for each in response.json()["refunds"]] == ["late"]


def test_stale_payments_expire(published, make_payment):
    long_ago = timezone.now() - timedelta(hours=25)
    stale = make_payment(created_at=long_ago)
    make_payment(created_at=long_ago, status=Payment.Status.COMPLETED)
    fresh = make_payment()

    assert expire_stale_payments() == 1

    stale.refresh_from_db()
    fresh.refresh_from_db()
    assert stale.status == Payment.Status.FAILED
    assert fresh.is_pending
    assert [payload["paymentId"] for _, payload in published()] == [stale.pk]


def test_seeding_adds_pending_payments():
    call_command("seed", users=2, payments=3, verbosity=0)

    assert Payment.objects.pending().count() == 6
