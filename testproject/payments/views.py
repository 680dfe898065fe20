from typing import Any

from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe
from monolith.api import caller, conflict, read_form, refuse
from notifications.services import send_payment_email

from django_strangler import publish_event
from django_strangler.http_idempotency import idempotent

from . import services
from .contracts import PaymentCompleted, PaymentCreated
from .forms import FailureForm, PaymentForm, RefundForm
from .models import Currency, LedgerEntry, Payment
from .moves import writing
from .rollout import notifications_moved

PAGE = 100

# Below `writing`: the key is kept where payments live now, in the same transaction.
once = idempotent(required=False, scope=caller, model="payments.PaymentRequest")


def as_json(payment: Payment) -> dict[str, Any]:
    return {
        "id": payment.pk,
        "user": payment.user_id,
        "amount": payment.amount,
        "currency": payment.currency,
        "status": payment.status,
        "reference": payment.reference,
        "created_at": payment.created_at,
        "completed_at": payment.completed_at,
    }


# A project to test with: it has no logins, and anybody may pay, refund and read. Yours
# asks who calls, and keeps CSRF's protection for those who come with a session.


@method_decorator(csrf_exempt, name="dispatch")
class PaymentList(View):
    def get(self, request: HttpRequest) -> HttpResponse:
        payments = Payment.objects.order_by("-id")
        if user := request.GET.get("user"):
            if not user.isdecimal():
                return JsonResponse({"errors": {"user": ["Not a number."]}}, status=400)
            payments = payments.filter(user_id=int(user))
        if status := request.GET.get("status"):
            payments = payments.filter(status=status)
        return JsonResponse({"payments": [as_json(each) for each in payments[:PAGE]]})

    @method_decorator(writing)
    @method_decorator(once)
    def post(self, request: HttpRequest) -> HttpResponse:
        form = read_form(PaymentForm, request)
        if not form.is_valid():
            return refuse(form)

        # A field left out takes the model's default.
        fields = {name: value for name, value in form.cleaned_data.items() if value}
        try:
            payment = self.create(fields)
        except IntegrityError:
            return conflict("This reference is taken.")
        return JsonResponse(as_json(payment), status=201)

    @writing
    def create(self, fields: dict[str, Any]) -> Payment:
        payment = Payment.objects.create(**fields)
        publish_event(
            PaymentCreated(
                paymentId=payment.pk,
                userId=payment.user_id,
                amount=payment.amount,
                currency=Currency(payment.currency),
            ),
            key=payment,
        )
        return payment


@require_safe
def payment_detail(request: HttpRequest, payment_id: int) -> HttpResponse:
    payment = get_object_or_404(Payment, pk=payment_id)
    refunds = [
        {"id": refund.pk, "amount": refund.amount, "reason": refund.reason}
        for refund in payment.refunds.order_by("id")
    ]
    receipts = [receipt.text for receipt in payment.receipts.order_by("id")]
    return JsonResponse({**as_json(payment), "refunds": refunds, "receipts": receipts})


@csrf_exempt
@require_POST
@writing
@once
def complete_payment(request: HttpRequest, payment_id: int) -> HttpResponse:
    payment = get_object_or_404(Payment.objects.select_for_update(), id=payment_id)
    if not payment.is_pending:
        return conflict(f"The payment is {payment.status}.")
    payment.status = Payment.Status.COMPLETED
    payment.completed_at = timezone.now()
    payment.save()
    LedgerEntry.objects.create(
        user=payment.user,
        payment=payment,
        kind=LedgerEntry.Kind.PAYMENT,
        amount=payment.amount,
        currency=payment.currency,
    )

    # Who gets the mail decides, not who calls: a payment may be completed by a webhook.
    moved = notifications_moved(payment.user_id)
    if not moved:
        transaction.on_commit(
            lambda: send_payment_email(payment), using=payment._state.db
        )

    publish_event(
        PaymentCompleted(
            paymentId=payment.id,
            userId=payment.user_id,
            amount=payment.amount,
            currency=Currency(payment.currency),
        ),
        key=payment,
        flags=[moved],
    )
    return JsonResponse({"status": payment.status})


@csrf_exempt
@require_POST
@writing
@once
def fail_payment(request: HttpRequest, payment_id: int) -> HttpResponse:
    form = read_form(FailureForm, request)
    if not form.is_valid():
        return refuse(form)

    payment = get_object_or_404(Payment.objects.select_for_update(), id=payment_id)
    if not payment.is_pending:
        return conflict(f"The payment is {payment.status}.")
    services.fail(payment, reason=form.cleaned_data["reason"])
    return JsonResponse({"status": payment.status})


@csrf_exempt
@require_POST
@writing
@once
def refund_payment(request: HttpRequest, payment_id: int) -> HttpResponse:
    form = read_form(RefundForm, request)
    if not form.is_valid():
        return refuse(form)

    payment = get_object_or_404(Payment.objects.select_for_update(), id=payment_id)
    if form.cleaned_data["amount"] > payment.refundable:
        return conflict(f"Only {payment.refundable} can be refunded.")
    refund = services.refund(payment, **form.cleaned_data)
    return JsonResponse({"id": refund.pk, "status": payment.status}, status=201)
