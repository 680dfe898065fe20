"""What there is to see at this moment, for the page and its script."""

from collections import defaultdict
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from monolith.money import format_amount
from notifications import texts
from notifications.models import EmailLog
from payments.models import Payment
from payments.rollout import NOTIFICATIONS, notifications_moved

from django_strangler import evidence
from django_strangler.experiments.models import Mismatch
from django_strangler.models import Flag, InboxEntry, Incident, OutboxEvent
from django_strangler.monitoring import board

from . import outboxes, stage, tables
from .bug import IN_PATH

SHOWN = 10  # Payments in the list.
REASONS = 2  # Of a verdict.
NOTHING = ("Nothing of it is being moved.",)
COMPLETED = "payment.completed"
RECEIPTS = "subscriber:receipts"
EXPERIMENT = f"{texts.FLAG}.completed"
COMPARED = f"experiment:{EXPERIMENT}"


def now() -> dict[str, Any]:
    here = stage.current()
    flag = Flag.objects.get(name=NOTIFICATIONS)
    return {
        "relay": here.relay.pid,
        "traffic": here.traffic.is_on,
        "counts": counts(),
        "rollout": int(flag.rollout()),
        "guard": guard(flag),
        "texts": compared_texts(),
        "tables": tables.shown(here.tables),
        "board": domains(),
        "users": [
            {"id": user, "moved": bool(notifications_moved(user))}
            for user in here.users
        ],
        "payments": payments(),
    }


def domains() -> list[dict[str, Any]]:
    """The board: what to do with each domain, and the first reasons why."""
    return [
        {
            "domain": row.domain or "of no domain",
            "verdict": row.verdict.value,
            "reasons": list(row.reasons[:REASONS]),
        }
        for row in board.rows()
        if row.reasons != NOTHING
    ]


def guard(flag: Flag) -> dict[str, Any]:
    """What the flag's guard sees, or has done."""
    seen = evidence.seen(RECEIPTS)["modern"]
    says = (
        f"It watches {RECEIPTS}: of {seen.checked} in the last minutes, {seen.failed} "
        "failed."
    )
    if not flag.enabled:
        says = f"It has switched {flag.name} off: the old path serves everybody."
    return {
        "mend": bool(IN_PATH) or not flag.enabled,
        "on": flag.enabled,
        "says": says + _seen_by_guard(flag),
    }


def compared_texts() -> dict[str, Any]:
    """What the experiment has found, and what the guard of its flag did about it."""
    flag = Flag.objects.get(name=texts.FLAG)
    seen = evidence.seen(COMPARED)["modern"]
    says = (
        f"{flag.rollout():g} % get the new texts. For the others both are written, and "
        f"the old one is sent: of {seen.checked} in the last minutes, {seen.failed} "
        "differ."
    )
    if not flag.enabled:
        says = f"The guard has switched {flag.name} off: the old texts serve everybody."
    return {
        "mend": bool(settings.RECEIPTS_BUG) or not flag.enabled,
        "on": flag.enabled,
        "says": says + _seen_by_guard(flag),
        "differs": _last_difference(),
    }


def _seen_by_guard(flag: Flag) -> str:
    if flag.enabled:
        return ""
    incident = Incident.objects.filter(flag=flag.name, resumed_at=None).first()
    return f" It saw: {incident.text}" if incident else ""


def _last_difference() -> list[str]:
    """The line of the old text and that of the new one, where they were not alike."""
    found = Mismatch.objects.filter(experiment=EXPERIMENT).order_by("-last_at").first()
    if found is None or not found.samples:
        return []
    last = found.samples[-1]
    pairs = zip(
        last["control"].splitlines(), last["candidate"].splitlines(), strict=False
    )
    return next(([old, new] for old, new in pairs if old != new), [])


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
        "confirmed": sum(each.confirmed().count() for each in outboxes.events()),
        "parked": outboxes.parked(),
        "pending": outboxes.pending(),
        "payments": Payment.objects.completed().count(),
    }


def payments() -> list[dict[str, Any]]:
    """The last ones, newest first, each with what has become of its event."""
    last = list(Payment.objects.completed().order_by("-id")[:SHOWN])
    keys = {f"payments.payment:{payment.pk}": payment.pk for payment in last}
    events = {
        keys[event.key]: event
        for each in outboxes.events()
        for event in each.filter(type=COMPLETED, key__in=keys)
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
