"""What changes money or makes an account does so once per idempotency key."""

from __future__ import annotations

import json

import pytest
from django.db import router
from django.urls import reverse
from payments.models import LedgerEntry, Payment, PaymentRequest, Refund
from users.models import User

from django_strangler.clock import DatabaseNow
from django_strangler.http_idempotency.models import IdempotentRequest
from django_strangler.http_idempotency.retention import prune
from django_strangler.http_idempotency.testing import assert_idempotent
from django_strangler.moves import OutsideMove

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def payment(request):
    request.getfixturevalue("_django_db_helper")
    user = User.objects.create_user("ada", email="ada@example.com")
    return Payment.objects.create(user=user, amount="12.50")


def once(client, view, data, effect, **kwargs):
    return assert_idempotent(
        client.post,
        reverse(view, kwargs=kwargs),
        data,
        content_type="application/json",
        effect=effect,
    )


def test_a_payment_is_created_once(client, payment):
    data = {"user": payment.user_id, "amount": "1.00", "currency": "EUR"}

    response = once(client, "payments:list", data, Payment.objects.count)

    assert Payment.objects.count() == 2
    assert Payment.objects.filter(pk=json.loads(response.content)["id"]).exists()


def test_a_payment_is_completed_once_and_says_so_each_time(client, payment):
    response = once(
        client,
        "payments:complete",
        {},
        LedgerEntry.objects.count,
        payment_id=payment.pk,
    )

    assert json.loads(response.content) == {"status": "completed"}
    assert LedgerEntry.objects.count() == 1


def test_money_is_given_back_once(client, payment):
    Payment.objects.update(status=Payment.Status.COMPLETED)

    once(
        client,
        "payments:refund",
        {"amount": "5.00"},
        Refund.objects.count,
        payment_id=payment.pk,
    )

    assert Refund.objects.count() == 1


def test_the_keys_of_payments_are_kept_beside_payments(client, payment):
    """They move along; those of other views stay."""
    url = reverse("payments:complete", kwargs={"payment_id": payment.pk})

    client.post(url, headers={"Idempotency-Key": "k-1"})

    assert PaymentRequest.objects.get().key == "k-1"
    assert not IdempotentRequest.objects.exists()


def test_they_are_forgotten_when_their_time_is_over(client, payment):
    url = reverse("payments:complete", kwargs={"payment_id": payment.pk})
    client.post(url, headers={"Idempotency-Key": "k-1"})
    PaymentRequest.objects.update(expires_at=DatabaseNow(-1))

    assert sum(prune()) == 1

    assert not PaymentRequest.objects.exists()


def test_an_account_is_made_once(client, payment):
    data = {"email": "bob@example.com", "password": "long and unusual"}

    once(client, "users:sign-up", data, User.objects.count)

    assert User.objects.count() == 2


def test_without_a_key_they_do_as_before(client, payment):
    url = reverse("payments:complete", kwargs={"payment_id": payment.pk})

    answers = [client.post(url).status_code for _ in range(2)]

    assert answers == [200, 409]


def test_they_are_forgotten_where_they_are_written(client, payment, monkeypatch):
    url = reverse("payments:complete", kwargs={"payment_id": payment.pk})
    client.post(url, headers={"Idempotency-Key": "k-1"})
    PaymentRequest.objects.update(expires_at=DatabaseNow(-1))
    monkeypatch.setattr(router, "db_for_read", lambda model, **hints: "replica")

    assert sum(prune()) == 1


def test_while_they_move_they_are_forgotten_where_they_are_read(
    client, payment, monkeypatch
):
    url = reverse("payments:complete", kwargs={"payment_id": payment.pk})
    client.post(url, headers={"Idempotency-Key": "k-1"})
    PaymentRequest.objects.update(expires_at=DatabaseNow(-1))

    def refuse(model, **hints):
        if model is PaymentRequest:
            raise OutsideMove("It is on a move.")
        return "default"

    monkeypatch.setattr(router, "db_for_write", refuse)

    assert sum(prune()) == 1
