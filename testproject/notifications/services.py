"""The messages this company sends, one function each."""

from monolith.money import format_amount
from payments.models import Payment, Refund
from users.models import User

from .delivery import send_once, wants_email


def send_payment_email(payment: Payment) -> bool:
    """Tell the payer that the payment is through, unless mail is not wanted."""
    user = payment.user
    return wants_email(user) and send_once(
        f"payment.completed:{payment.pk}",
        user=user,
        subject=f"You paid {format_amount(payment.amount, payment.currency)}",
        template="payment_completed",
        payment_id=payment.pk,
        context={
            "payment": payment,
            "amount": format_amount(payment.amount, payment.currency),
        },
    )


def send_refund_email(refund: Refund) -> bool:
    payment = refund.payment
    amount = format_amount(refund.amount, payment.currency)
    return wants_email(payment.user) and send_once(
        f"payment.refunded:{refund.pk}",
        user=payment.user,
        subject=f"You got {amount} back",
        template="payment_refunded",
        payment_id=payment.pk,
        context={"refund": refund, "amount": amount},
    )


def send_welcome_email(user: User) -> bool:
    return send_once(
        f"user.signup:{user.pk}", user=user, subject="Welcome", template="welcome"
    )


def send_password_reset_email(user: User, uid: str, token: str) -> bool:
    # Asked for by the user, so it is sent whatever the preference.
    return send_once(
        f"user.password-reset:{user.pk}:{token}",
        user=user,
        subject="Your new password",
        template="password_reset",
        context={"uid": uid, "token": token},
    )
