from typing import TYPE_CHECKING, Any

from django.db.models.signals import post_save
from django.dispatch import receiver

from .models import DailySummary

if TYPE_CHECKING:
    from payments.models import Refund


@receiver(post_save, sender="payments.Refund")
def mark_stale(instance: "Refund", **kwargs: Any) -> None:
    day = instance.created_at.date()
    DailySummary.objects.filter(day=day).update(stale=True)
