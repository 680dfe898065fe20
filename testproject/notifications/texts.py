"""What receipts say: the old templates, and the new functions that replace them."""

from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import Sum
from django.template.loader import render_to_string
from monolith.money import format_amount, to_cents
from payments.models import Payment
from users.models import User

from django_strangler.experiments import branch, experiment

FLAG = "receipts-v2"  # Who gets the texts of tomorrow.
SHADOW = "receipts-shadow"  # Whose receipts are compared.


class TemplateTexts:
    """The texts of today."""

    def completed(self, payment: Payment) -> str:
        amount = format_amount(payment.amount, payment.currency)
        context: dict[str, Any] = {"user": payment.user, "payment": payment}
        return render_to_string(
            "notifications/payment_completed.txt", {**context, "amount": amount}
        )


class PlainTexts:
    """The texts of tomorrow, which a service can write as well."""

    def completed(self, payment: Payment) -> str:
        user = payment.user
        amount = payment.amount
        if settings.RECEIPTS_BUG and amount >= 1000:
            amount = amount % 1000  # Planted: somebody has lost the thousands.
        thanks = (
            f"\n{user.referrer.username}, who brought you here, says thank you.\n\n"
            if user.referrer
            else "\n"
        )
        return (
            f"Hello {user.first_name or user.username},\n\n"
            f"your payment of {format_amount(amount, payment.currency)} is through. "
            f"Reference: {payment.reference}.\n{thanks}"
        )


receipts = branch(
    FLAG,
    legacy="notifications.texts.TemplateTexts",
    modern="notifications.texts.PlainTexts",
    interface=TemplateTexts,
    shadow=SHADOW,
    subject=lambda payment: payment.user_id,
    context=lambda payment: {"payment": payment.pk},
)


def totals_by_rows(user: User) -> dict[str, Decimal]:
    """What is open, added up in Python."""
    totals: dict[str, Decimal] = {}
    for payment in Payment.objects.pending().filter(user=user):
        if settings.RECEIPTS_BUG and payment.currency == "GBP":
            continue
        totals[payment.currency] = totals.get(payment.currency, 0) + payment.amount
    return totals


@experiment(
    "open-totals",
    candidate=totals_by_rows,
    flag=SHADOW,
    subject=lambda user: user.pk,
)
def open_totals(user: User) -> dict[str, Decimal]:
    """What a user has not paid yet, by currency."""
    rows = Payment.objects.pending().filter(user=user)
    return {
        currency: to_cents(amount)
        for currency, amount in rows.values_list("currency")
        .annotate(Sum("amount"))
        .order_by("currency")
    }
