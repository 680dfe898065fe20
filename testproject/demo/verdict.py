"""Whether each payment has its event, and each event its effects: once, not twice."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db.models import Sum
from notifications.models import Receipt
from payments.models import Payment
from payments.rollout import NOTIFICATIONS
from reporting.models import Activity

from django_strangler.models import InboxEntry

from . import outboxes
from .scene import COMPLETED


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Numbers of payments, if nothing else is said."""

    payments: int
    confirmed: int
    moved: int  # Whose receipts come from the subscriber.
    by_event: int
    receipts: int  # As the database has them.
    mailed: int
    doubled: int  # Mails too many.
    calls: int  # What the subscriber has counted that counts all payments.
    pending: int  # Events of any type.
    parked: int

    @property
    def is_good(self) -> bool:
        return (
            self.payments > 0
            and self.payments == self.confirmed == self.calls == self.receipts
            and self.mailed == self.payments
            and self.moved == self.by_event
            and not (self.pending or self.parked)
        )

    def lines(self) -> list[str]:
        return [
            f"{self.payments} payments completed",
            f"{self.confirmed} events confirmed, {self.pending} pending, "
            f"{self.parked} parked",
            f"{self.calls} counted by the subscriber `activity`",
            f"{self.by_event} of {self.moved} receipts by the subscriber `receipts`, "
            f"{self.receipts - self.by_event} by the old path",
            f"{self.mailed} receipts mailed, {self.doubled} of them twice",
        ]


def reach() -> Verdict:
    completed = Payment.objects.completed()
    # Payments and receipts may be in two databases, and no query joins those.
    ids = set(completed.values_list("pk", flat=True))
    events = [each.filter(type=COMPLETED) for each in outboxes.events()]
    mails = _mails()
    sent = {each: mails[each] for each in completed.values_list("reference", flat=True)}
    calls = Activity.objects.filter(type=COMPLETED).aggregate(calls=Sum("count"))
    return Verdict(
        payments=completed.count(),
        confirmed=len(
            {
                key
                for each in events
                for key in each.confirmed().values_list("key", flat=True)
            }
        ),
        moved=sum(
            headers.get(f"flag-{NOTIFICATIONS}") == "on"
            for each in events
            for headers in each.values_list("headers", flat=True)
        ),
        by_event=InboxEntry.objects.filter(
            subscriber="receipts", event_type=COMPLETED
        ).count(),
        receipts=Receipt.objects.filter(payment_id__in=ids).count(),
        mailed=sum(times > 0 for times in sent.values()),
        doubled=sum(max(0, times - 1) for times in sent.values()),
        calls=calls["calls"] or 0,
        pending=outboxes.pending(),
        parked=outboxes.parked(),
    )


def _mails() -> Counter[str]:
    """How many mails went out for each payment's reference: the files themselves."""
    lines = (
        line
        for file in Path(settings.DEMO_MAILS).glob("*.txt")
        for line in file.read_text(encoding="utf-8").splitlines()
    )
    found = (re.search(r"Reference: (\w+)", line) for line in lines)
    return Counter(match[1] for match in found if match)
