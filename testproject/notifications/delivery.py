"""One mail: on record first, then sent, then marked."""

import smtplib
from typing import Any

from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.utils import timezone
from users.models import User

from .models import EmailLog, NotificationPreference, Receipt


def wants_email(user: User) -> bool:
    # Users made in bulk have no preference; they get mail like everybody.
    return not NotificationPreference.objects.filter(user=user, email=False).exists()


def send_once(
    message_id: str,
    *,
    user: User,
    subject: str,
    template: str = "",
    body: str = "",
    payment_id: int | None = None,
    context: dict[str, Any] | None = None,
) -> bool:
    """Send a mail unless one of this name is on record. Says whether it went out."""
    body = body or render_to_string(
        f"notifications/{template}.txt", {"user": user, **(context or {})}
    )
    log, created = EmailLog.objects.get_or_create(
        message_id=message_id,
        defaults={
            "user": user,
            "payment_id": payment_id,
            "recipient": user.email,
            "subject": subject,
            "body": body,
        },
    )
    return created and deliver(log)


def deliver(log: EmailLog) -> bool:
    log.attempts += 1
    # Whoever passes it on knows one that is sent again by its name.
    name = f"<{log.message_id.replace(':', '.')}@example.com>"
    mail = EmailMessage(
        log.subject, log.body, to=[log.recipient], headers={"Message-ID": name}
    )
    try:
        mail.send()
    except (smtplib.SMTPException, OSError) as error:
        # The payment stands; the mail is tried again by resend_failed_emails.
        log.status = EmailLog.Status.FAILED
        log.error = str(error)
        log.save()
        return False

    log.status = EmailLog.Status.SENT
    log.error = ""
    log.sent_at = timezone.now()
    log.save()
    if log.payment_id is not None:
        Receipt.objects.get_or_create(
            message_id=log.message_id,
            defaults={
                "payment_id": log.payment_id,
                "user_id": log.user_id,
                "text": log.body,
            },
        )
    return True
