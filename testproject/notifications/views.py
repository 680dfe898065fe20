from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe
from users.models import User

from .delivery import wants_email
from .models import EmailLog, Receipt
from .texts import open_totals

PAGE = 100


@require_safe
def user_notifications(request: HttpRequest, user_id: int) -> HttpResponse:
    """What a user has been told, and what the banner of the page needs to know."""
    user = get_object_or_404(User, pk=user_id)
    # No query joins payments: they may move to another database.
    receipts = Receipt.objects.filter(user=user).prefetch_related("payment")
    emails = EmailLog.objects.filter(user=user)
    return JsonResponse(
        {
            "user": user.pk,
            "email": wants_email(user),
            "receipts": [
                {
                    "payment": receipt.payment.reference,
                    "channel": receipt.channel,
                    "text": receipt.text,
                }
                for receipt in receipts.order_by("-id")[:PAGE]
            ],
            "emails": [
                {"subject": email.subject, "status": email.status}
                for email in emails.order_by("-id")[:PAGE]
            ],
            "open": open_totals(user),
        }
    )
