from datetime import date
from typing import Any

from django.apps import apps
from django.db.models import QuerySet, Sum
from monolith.days import bounds
from monolith.money import to_cents
from notifications.models import EmailLog
from payments.models import Payment
from users.models import User

from .models import DailySummary


def summarise(day: date) -> DailySummary:
    """Count a day afresh and keep the result."""
    start, end = bounds(day)
    completed = Payment.objects.completed_on(day)
    refunds = apps.get_model("payments.Refund").objects.filter(
        created_at__gte=start, created_at__lt=end
    )
    summary, _ = DailySummary.objects.update_or_create(
        day=day,
        defaults={
            "signups": User.objects.filter(
                date_joined__gte=start, date_joined__lt=end
            ).count(),
            "payments": completed.count(),
            "emails": EmailLog.objects.filter(
                sent_at__gte=start, sent_at__lt=end
            ).count(),
            "totals": totals(completed, "currency"),
            "refunds": totals(refunds, "payment__currency"),
            "stale": False,
        },
    )
    return summary


def totals(rows: QuerySet[Any], currency: str) -> dict[str, str]:
    sums = rows.order_by().values_list(currency).annotate(Sum("amount"))
    return {name: str(to_cents(amount)) for name, amount in sums}
