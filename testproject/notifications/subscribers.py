"""The new notifications: they hear of events instead of being called."""

from django.contrib.auth.tokens import default_token_generator
from payments.models import Payment, Refund
from users.models import User

from django_strangler import subscribe
from django_strangler.events import Event

from . import services

FLAG = "notifications-v2"  # Until 100 %, the old path serves everybody else.


@subscribe("payment.completed", name="receipts", flag=FLAG)
def send_receipt(event: Event) -> None:
    payment = Payment.objects.select_related("user").get(pk=event.payload["paymentId"])
    services.send_payment_email(payment)


@subscribe("payment.refunded", name="refund-notices", flag=FLAG)
def send_refund_notice(event: Event) -> None:
    refund = Refund.objects.select_related("payment__user").get(
        pk=event.payload["refundId"]
    )
    services.send_refund_email(refund)


@subscribe("user.signup", name="welcomes", flag=FLAG)
def send_welcome(event: Event) -> None:
    services.send_welcome_email(User.objects.get(pk=event.payload["userId"]))


@subscribe("user.password-reset", name="password-resets", flag=FLAG)
def send_password_reset(event: Event) -> None:
    user = User.objects.get(pk=event.payload["userId"])
    if default_token_generator.check_token(user, event.payload["token"]):
        services.send_password_reset_email(
            user, event.payload["uid"], event.payload["token"]
        )
