"""The receipts of today are compared with the new ones; a planted bug is found."""

from __future__ import annotations

from decimal import Decimal

import pytest
from notifications import services, texts
from payments.models import Payment
from users.models import User

from django_strangler.experiments import MismatchFound, experiments_raise
from django_strangler.testing import override_flag

pytestmark = pytest.mark.django_db


@pytest.fixture
def payment() -> Payment:
    ada = User.objects.create(username="ada", email="ada@example.com")
    bob = User.objects.create(username="bob", email="bob@example.com", referrer=ada)
    return Payment.objects.create(
        user=bob, amount=Decimal("1234.50"), currency="GBP", status="pending"
    )


def test_both_texts_say_the_same(payment):
    with override_flag("receipts-shadow", True), experiments_raise():
        text = texts.receipts.completed(payment)

    assert "£1,234.50" in text
    assert "ada, who brought you here" in text


def test_both_totals_are_the_same(payment):
    with override_flag("receipts-shadow", True), experiments_raise():
        assert texts.open_totals(payment.user) == {"GBP": Decimal("1234.50")}


def test_a_planted_bug_is_found_and_nobody_is_told(payment, settings, mailoutbox):
    settings.RECEIPTS_BUG = True

    with override_flag("receipts-shadow", True):
        with pytest.raises(MismatchFound, match=r"£234\.50"), experiments_raise():
            texts.receipts.completed(payment)
        with pytest.raises(MismatchFound, match="missing at /GBP"), experiments_raise():
            texts.open_totals(payment.user)
        services.send_payment_email(payment)

    assert "£1,234.50" in mailoutbox[0].body


def test_those_whose_flag_is_on_get_the_new_text(payment, settings):
    settings.RECEIPTS_BUG = True

    with override_flag("receipts-v2", True):
        assert "£234.50" in texts.receipts.completed(payment)
