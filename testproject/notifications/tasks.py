from collections.abc import Callable
from datetime import timedelta
from typing import Any

from celery import shared_task
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils import timezone
from monolith.money import format_amount
from payments.models import Payment, Refund
from users.models import User

from django_strangler.models import OutboxEvent

from . import services
from .delivery import deliver, send_once
from .models import EmailLog
from .queries import overdue_payments

MAX_ATTEMPTS = 5
DUNNED_FOR = timedelta(days=14)
FORGOTTEN_AFTER, FORGOTTEN_FOR = timedelta(minutes=1), timedelta(days=1)

# What the old path tells of: the id in the event's payload, and the mail.
TOLD: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "payment.completed": (
        "paymentId",
        lambda pk: services.send_payment_email(Payment.objects.get(pk=pk)),
    ),
    "payment.refunded": (
        "refundId",
        lambda pk: services.send_refund_email(Refund.objects.get(pk=pk)),
    ),
    "user.signup": (
        "userId",
        lambda pk: services.send_welcome_email(User.objects.get(pk=pk)),
    ),
}


@shared_task
def resend_failed_emails() -> int:
    """Try the mails again that could not be sent."""
    return sum(deliver(log) for log in EmailLog.objects.to_resend(MAX_ATTEMPTS))


@shared_task
def send_dunning_reminders() -> int:
    """Remind users, once for each payment, that a payment of theirs failed."""
    overdue = overdue_payments(timezone.now() - DUNNED_FOR)
    users = User.objects.in_bulk({each.user_id for each in overdue})
    return sum(
        send_once(
            f"payment.dunning:{each.payment_id}",
            user=users[each.user_id],
            subject="Your payment did not go through",
            template="dunning",
            payment_id=each.payment_id,
            context={"amount": format_amount(each.amount, each.currency)},
        )
        for each in overdue
    )


@shared_task
def send_forgotten_emails() -> int:
    """
    Send what was still to be sent when a process died, between its commit and its mail.

    Nothing remembers an on_commit. The events do: what was committed, and whether the
    old path was to tell of it.
    """
    since, until = (timezone.now() - age for age in (FORGOTTEN_FOR, FORGOTTEN_AFTER))
    unfinished = EmailLog.objects.filter(
        status=EmailLog.Status.PENDING, created_at__range=(since, until)
    )
    sent = sum(deliver(log) for log in unfinished)
    # Once the payments have moved, their events are in the outbox beside them.
    outboxes = {DEFAULT_DB_ALIAS, "payments"} & set(connections)
    events = [
        event
        for alias in outboxes
        for event in OutboxEvent.objects.using(alias).filter(
            type__in=TOLD, published_at__range=(since, until)
        )
    ]
    to_tell = {
        f"{event.type}:{event.payload[TOLD[event.type][0]]}": event
        for event in events
        if event.headers.get("flag-notifications-v2") == "off"
    }
    known = EmailLog.objects.filter(message_id__in=to_tell)
    for name in to_tell.keys() - set(known.values_list("message_id", flat=True)):
        field, send = TOLD[to_tell[name].type]
        sent += send(to_tell[name].payload[field])
    return sent
