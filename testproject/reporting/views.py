from dataclasses import asdict
from datetime import date

from django.contrib.admin.views.decorators import staff_member_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from payments.models import Payment
from users.models import KycCheck, User

from .queries import revenue_by_locale
from .summaries import summarise


@require_safe
@staff_member_required
def report(request: HttpRequest) -> HttpResponse:
    """A day in numbers; today unless ?day=2026-01-31 says otherwise."""
    try:
        text = request.GET.get("day")
        day = date.fromisoformat(text) if text else timezone.now().date()
    except ValueError:
        return JsonResponse({"errors": {"day": ["Not a date."]}}, status=400)

    summary = summarise(day)
    passed = KycCheck.objects.filter(status=KycCheck.Status.PASSED)
    return JsonResponse(
        {
            "day": day,
            "signups": summary.signups,
            "payments": summary.payments,
            "emails": summary.emails,
            "totals": summary.totals,
            "refunds": summary.refunds,
            "revenue": [asdict(each) for each in revenue_by_locale(day)],
            "pending": Payment.objects.pending().count(),
            "users": User.objects.count(),
            "verified": passed.values("user").distinct().count(),
        }
    )
