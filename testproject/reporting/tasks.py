from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from .models import DailySummary
from .summaries import summarise


@shared_task
def summarise_yesterday() -> str:
    """Summarise yesterday, and again each day that changed since it was summarised."""
    yesterday = timezone.now().date() - timedelta(days=1)
    stale = DailySummary.objects.filter(stale=True).values_list("day", flat=True)
    for day in {yesterday, *stale}:
        summarise(day)
    return yesterday.isoformat()
