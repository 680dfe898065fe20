"""The messages this company sends, one function each."""

from django.contrib.auth.tokens import default_token_generator
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode
from monolith.money import format_amount
from payments.models import Payment, Refund
from users.models import User

from .delivery import send_once, wants_email
from .texts import receipts


def send_payment_email(payment: Payment) -> bool:
    """Tell the payer that the payment is through, unless mail is not wanted."""
    user = payment.user
    return wants_email(user) and send_once(
        f"payment.completed:{payment.pk}",
        user=user,
        subject=f"You paid {format_amount(payment.amount, payment.currency)}",
        body=receipts.completed(payment),
        payment_id=payment.pk,
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


def send_password_reset_email(user: User, request_id: str) -> bool:
    # Asked for by the user, so it is sent whatever the preference. The token is made
    # now: whoever holds it can take the account over.
    return send_once(
        f"user.password-reset:{request_id}",
        user=user,
        subject="Your new password",
        template="password_reset",
        context={
            "uid": urlsafe_base64_encode(force_bytes(user.pk)),
            "token": default_token_generator.make_token(user),
        },
    )
