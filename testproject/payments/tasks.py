from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from . import services
from .models import Payment
from .moves import writing

STALE_AFTER = timedelta(days=1)


@shared_task
def expire_stale_payments() -> int:
    """Fail payments that nobody completed within a day."""
    stale = Payment.objects.pending().created_before(timezone.now() - STALE_AFTER)
    return sum(expire(pk) for pk in stale.order_by("id").values_list("pk", flat=True))


@writing
def expire(payment_id: int) -> bool:
    payment = Payment.objects.select_for_update().get(pk=payment_id)
    # Completed, perhaps, between the job's reading and this lock.
    if not payment.is_pending:
        return False
    services.fail(payment, reason="expired")
    return True
