from decimal import Decimal

from django.db import transaction
from notifications.services import send_refund_email

from django_strangler import publish_event

from .contracts import PaymentFailed, PaymentRefunded
from .models import Currency, LedgerEntry, Payment, Refund
from .rollout import notifications_moved


def fail(payment: Payment, *, reason: str) -> None:
    """Give up a payment, whose row the caller has locked."""
    payment.status = Payment.Status.FAILED
    payment.save(update_fields=["status"])
    publish_event(
        PaymentFailed(paymentId=payment.pk, userId=payment.user_id, reason=reason),
        key=payment,
        flags=[notifications_moved(payment.user_id)],
    )


def refund(payment: Payment, *, amount: Decimal, reason: str) -> Refund:
    """Give back some or all of a payment, whose row the caller has locked."""
    refund = Refund.objects.create(payment=payment, amount=amount, reason=reason)
    LedgerEntry.objects.create(
        user=payment.user,
        payment=payment,
        kind=LedgerEntry.Kind.REFUND,
        amount=-amount,
        currency=payment.currency,
    )
    if not payment.refundable:
        payment.status = Payment.Status.REFUNDED
        payment.save(update_fields=["status"])

    moved = notifications_moved(payment.user_id)
    if not moved:
        transaction.on_commit(lambda: send_refund_email(refund), using=refund._state.db)

    publish_event(
        PaymentRefunded(
            paymentId=payment.pk,
            refundId=refund.pk,
            userId=payment.user_id,
            amount=amount,
            currency=Currency(payment.currency),
        ),
        key=payment,
        flags=[moved],
    )
    return refund
