"""The new notifications: they hear of events instead of being called."""

from payments.models import Payment, Refund
from users.models import User

from django_strangler import subscribe
from django_strangler.events import Event

from . import services
from .contracts import PaymentToConfirm, RefundToConfirm, ResetToSend, UserToWelcome

FLAG = "notifications-v2"  # Until 100 %, the old path serves everybody else.


@subscribe(PaymentToConfirm, name="receipts", flag=FLAG)
def send_receipt(event: Event) -> None:
    payment = Payment.objects.get(pk=event.data.paymentId)
    services.send_payment_email(payment)


@subscribe(RefundToConfirm, name="refund-notices", flag=FLAG)
def send_refund_notice(event: Event) -> None:
    refund = Refund.objects.select_related("payment").get(pk=event.data.refundId)
    services.send_refund_email(refund)


@subscribe(UserToWelcome, name="welcomes", flag=FLAG)
def send_welcome(event: Event) -> None:
    services.send_welcome_email(User.objects.get(pk=event.data.userId))


@subscribe(ResetToSend, name="password-resets", flag=FLAG)
def send_password_reset(event: Event) -> None:
    user = User.objects.get(pk=event.data.userId)
    services.send_password_reset_email(user, str(event.id))
