from decimal import Decimal
from typing import TYPE_CHECKING

from django.contrib.auth.models import AbstractUser
from django.db import models
from monolith.models import Created
from monolith.money import to_cents

if TYPE_CHECKING:
    from django.db.models.fields.related_descriptors import RelatedManager
    from payments.models import Payment


class User(AbstractUser):
    phone = models.CharField(max_length=32, blank=True)
    locale = models.CharField(max_length=10, default="en")
    referrer = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="referrals",
    )

    if TYPE_CHECKING:
        payments: RelatedManager[Payment]
        kyc_checks: RelatedManager["KycCheck"]

    @property
    def is_verified(self) -> bool:
        return self.kyc_checks.filter(status=KycCheck.Status.PASSED).exists()

    def total_paid(self, currency: str) -> Decimal:
        paid = self.payments.completed().filter(currency=currency)
        return to_cents(paid.aggregate(total=models.Sum("amount"))["total"])


class KycCheck(Created):
    """One attempt to establish who a user is ("know your customer")."""

    class Status(models.TextChoices):
        PENDING = "pending"
        PASSED = "passed"
        REFUSED = "refused"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="kyc_checks")
    status = models.CharField(
        max_length=16, choices=Status.choices, default=Status.PENDING
    )
    provider_reference = models.CharField(max_length=64, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.user}: {self.status}"
