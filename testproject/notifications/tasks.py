from datetime import timedelta

from celery import shared_task
from django.utils import timezone
from monolith.money import format_amount
from users.models import User

from .delivery import deliver, send_once
from .models import EmailLog
from .queries import overdue_payments

MAX_ATTEMPTS = 5
DUNNED_FOR = timedelta(days=14)


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
