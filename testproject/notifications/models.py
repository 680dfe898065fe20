from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from monolith.models import Created
from typing_extensions import Self


class Channel(models.TextChoices):
    EMAIL = "email"
    SMS = "sms"


class NotificationPreference(models.Model):
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="notification_preference",
    )
    email = models.BooleanField(default=True)
    sms = models.BooleanField(default=False)

    def __str__(self) -> str:
        return str(self.user)


class EmailLogQuerySet(models.QuerySet["EmailLog"]):
    def to_resend(self, max_attempts: int) -> Self:
        return self.filter(status=EmailLog.Status.FAILED, attempts__lt=max_attempts)


class EmailLog(Created):
    class Status(models.TextChoices):
        PENDING = "pending"
        SENT = "sent"
        FAILED = "failed"

    # Names the message, not the attempt: "payment.completed:42". A name is used once.
    message_id = models.CharField(max_length=100, unique=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="emails"
    )
    payment = models.ForeignKey(
        "payments.Payment",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        db_constraint=False,
    )
    recipient = models.EmailField()
    subject = models.CharField(max_length=200)
    body = models.TextField()
    status = models.CharField(
        max_length=16, choices=Status.choices, default=Status.PENDING
    )
    attempts = models.PositiveSmallIntegerField(default=0)
    error = models.TextField(blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)

    objects = EmailLogQuerySet.as_manager()

    if TYPE_CHECKING:
        payment_id: int | None
        user_id: int

    class Meta:
        indexes = (models.Index(fields=("status",), name="emaillog_status"),)

    def __str__(self) -> str:
        return f"{self.subject} ({self.status})"


class Receipt(Created):
    """What a user was told about a payment."""

    message_id = models.CharField(max_length=100, unique=True)
    payment = models.ForeignKey(
        "payments.Payment",
        on_delete=models.CASCADE,
        related_name="receipts",
        db_constraint=False,
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="receipts"
    )
    channel = models.CharField(
        max_length=16, choices=Channel.choices, default=Channel.EMAIL
    )
    text = models.TextField()

    def __str__(self) -> str:
        return self.message_id
