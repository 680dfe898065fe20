import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from django.db import models
from monolith.days import bounds
from monolith.models import Created
from monolith.money import format_amount, to_cents
from typing_extensions import Self
from users.models import User

from django_strangler.http_idempotency.models import AbstractIdempotentRequest

if TYPE_CHECKING:
    from django.db.models.fields.related_descriptors import RelatedManager
    from notifications.models import Receipt


class Currency(models.TextChoices):
    EUR = "EUR"
    GBP = "GBP"
    USD = "USD"


def new_reference() -> str:
    return uuid.uuid4().hex


class PaymentQuerySet(models.QuerySet["Payment"]):
    def pending(self) -> Self:
        return self.filter(status=Payment.Status.PENDING)

    def completed(self) -> Self:
        return self.filter(status=Payment.Status.COMPLETED)

    def created_before(self, moment: datetime) -> Self:
        return self.filter(created_at__lt=moment)

    def completed_on(self, day: date) -> Self:
        """Those completed that day, whatever became of them later."""
        start, end = bounds(day)
        return self.filter(completed_at__gte=start, completed_at__lt=end)


# Users stay where they are when payments move: no database can tie the two then.


class Payment(Created):
    class Status(models.TextChoices):
        PENDING = "pending"
        COMPLETED = "completed"
        FAILED = "failed"
        REFUNDED = "refunded"

    user = models.ForeignKey(
        User, on_delete=models.PROTECT, related_name="payments", db_constraint=False
    )
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    currency = models.CharField(
        max_length=3, choices=Currency.choices, default=Currency.EUR
    )
    status = models.CharField(
        max_length=16, choices=Status.choices, default=Status.PENDING
    )
    reference = models.CharField(max_length=64, unique=True, default=new_reference)
    completed_at = models.DateTimeField(null=True, blank=True)

    objects = PaymentQuerySet.as_manager()

    if TYPE_CHECKING:
        user_id: int
        refunds: RelatedManager["Refund"]
        receipts: RelatedManager[Receipt]

    class Meta:
        indexes = (
            models.Index(fields=("status", "created_at"), name="payment_status"),
            models.Index(fields=("completed_at",), name="payment_completed"),
        )
        constraints = (
            models.CheckConstraint(
                condition=models.Q(amount__gt=0), name="payment_amount_positive"
            ),
        )

    def __str__(self) -> str:
        return f"{self.reference}: {format_amount(self.amount, self.currency)}"

    @property
    def is_pending(self) -> bool:
        return self.status == self.Status.PENDING

    @property
    def refundable(self) -> Decimal:
        """What has been paid and not been given back."""
        if self.status != self.Status.COMPLETED:
            return Decimal(0)
        refunded = self.refunds.aggregate(total=models.Sum("amount"))["total"]
        return self.amount - to_cents(refunded)


class Refund(Created):
    payment = models.ForeignKey(
        Payment, on_delete=models.PROTECT, related_name="refunds"
    )
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    reason = models.CharField(max_length=200, blank=True)

    if TYPE_CHECKING:
        payment_id: int

    def __str__(self) -> str:
        return format_amount(self.amount, self.payment.currency)


class Payout(Created):
    """Money that left for a user's bank account."""

    user = models.ForeignKey(
        User, on_delete=models.PROTECT, related_name="payouts", db_constraint=False
    )
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    currency = models.CharField(
        max_length=3, choices=Currency.choices, default=Currency.EUR
    )
    iban = models.CharField(max_length=34)
    paid_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{format_amount(self.amount, self.currency)} to {self.iban}"


class LedgerEntry(Created):
    """One line of a user's account; lines are added, never changed."""

    class Kind(models.TextChoices):
        PAYMENT = "payment"
        REFUND = "refund"
        PAYOUT = "payout"

    user = models.ForeignKey(
        User,
        on_delete=models.PROTECT,
        related_name="ledger_entries",
        db_constraint=False,
    )
    payment = models.ForeignKey(
        Payment,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="ledger_entries",
    )
    kind = models.CharField(max_length=16, choices=Kind.choices)
    amount = models.DecimalField(max_digits=12, decimal_places=2)  # Out is negative.
    currency = models.CharField(max_length=3, choices=Currency.choices)

    class Meta:
        verbose_name_plural = "ledger entries"

    def __str__(self) -> str:
        return f"{self.kind}: {format_amount(self.amount, self.currency)}"


class PaymentRequest(AbstractIdempotentRequest):
    """
    A request that came with a key, and what was answered.

    In a table of the payments' own, as it moves along with them: else a request that is
    tried again after a switch would pay a second time.
    """
