"""What there is to see at this moment, for the page and its script."""

from collections import defaultdict
from datetime import datetime
from typing import Any
from uuid import UUID

from monolith.money import format_amount
from notifications.models import EmailLog
from payments.models import Payment
from payments.rollout import NOTIFICATIONS, notifications_moved

from django_strangler.models import Flag, InboxEntry, OutboxEvent

from . import stage

SHOWN = 10  # Payments in the list.
COMPLETED = "payment.completed"


def now() -> dict[str, Any]:
    here = stage.current()
    return {
        "relay": here.relay.pid,
        "traffic": here.traffic.is_on,
        "counts": counts(),
        "rollout": int(Flag.objects.get(name=NOTIFICATIONS).rollout()),
        "users": [
            {"id": user, "moved": bool(notifications_moved(user))}
            for user in here.users
        ],
        "payments": payments(),
    }


def counts() -> dict[str, int]:
    """Read in the order of an event's way, so that nothing seems to arrive early."""
    receipts = EmailLog.objects.filter(status=EmailLog.Status.SENT)
    all_receipts = receipts.count()
    by_event = InboxEntry.objects.filter(subscriber="receipts", event_type=COMPLETED)
    by_events = by_event.count()
    return {
        "receipts": all_receipts,
        "byEvent": by_events,
        "byOldPath": all_receipts - by_events,
        "handled": InboxEntry.objects.filter(subscriber="activity").count(),
        "confirmed": OutboxEvent.objects.confirmed().count(),
        "parked": OutboxEvent.objects.parked().count(),
        "pending": OutboxEvent.objects.pending().count(),
        "payments": Payment.objects.completed().count(),
    }


def payments() -> list[dict[str, Any]]:
    """The last ones, newest first, each with what has become of its event."""
    last = list(Payment.objects.completed().order_by("-id")[:SHOWN])
    keys = {f"payments.payment:{payment.pk}": payment.pk for payment in last}
    events = {
        keys[event.key]: event
        for event in OutboxEvent.objects.filter(type=COMPLETED, key__in=keys)
    }
    mails = {
        mail.payment_id: mail
        for mail in EmailLog.objects.filter(
            payment_id__in=[payment.pk for payment in last],
            status=EmailLog.Status.SENT,
        )
    }
    handlers: defaultdict[UUID, list[str]] = defaultdict(list)
    ids = [event.event_id for event in events.values()]
    for entry in InboxEntry.objects.filter(event_id__in=ids).order_by("id"):
        handlers[entry.event_id].append(entry.subscriber)
    return [
        _payment(payment, event, handlers[event.event_id], mails.get(payment.pk))
        for payment in last
        if (event := events.get(payment.pk))
    ]


def _payment(
    payment: Payment,
    event: OutboxEvent,
    handlers: list[str],
    mail: EmailLog | None,
) -> dict[str, Any]:
    return {
        "id": payment.pk,
        "user": payment.user_id,
        "amount": format_amount(payment.amount, payment.currency),
        "moved": event.headers.get(f"flag-{NOTIFICATIONS}") == "on",
        "event": str(event.event_id),
        "state": event.state,
        "body": event.body,
        "headers": event.headers,
        "confirmedAfter": _milliseconds(event.published_at, event.confirmed_at),
        "handlers": handlers,
        "receiptAfter": mail and _milliseconds(event.published_at, mail.sent_at),
        "receipt": mail.body if mail else "",
    }


def _milliseconds(start: datetime, end: datetime | None) -> int | None:
    if end is None:
        return None
    return max(0, round((end - start).total_seconds() * 1000))
