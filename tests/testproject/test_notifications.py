from __future__ import annotations

from datetime import timedelta

import pytest
from django.core import mail
from django.utils import timezone
from notifications import tasks
from notifications.models import EmailLog, NotificationPreference, Receipt
from notifications.services import send_payment_email
from notifications.tasks import resend_failed_emails, send_dunning_reminders
from payments.models import Payment

from django_strangler.testing import override_flag

pytestmark = pytest.mark.django_db


@pytest.fixture
def mail_server_down(settings):
    # Nothing listens on port 9 of the loopback.
    def down(is_down: bool) -> None:
        name = "smtp" if is_down else "locmem"
        settings.EMAIL_BACKEND = f"django.core.mail.backends.{name}.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9

    return down


def test_one_message_is_sent_once(make_payment):
    payment = make_payment()

    assert send_payment_email(payment)
    assert not send_payment_email(payment)

    assert len(mail.outbox) == 1
    assert Receipt.objects.get().text == mail.outbox[0].body


def test_a_mail_that_is_sent_again_has_the_same_name(make_payment):
    payment = make_payment()

    send_payment_email(payment)

    headers = mail.outbox[0].extra_headers
    assert headers["Message-ID"] == f"<payment.completed.{payment.pk}@example.com>"


def test_what_died_between_commit_and_mail_is_sent_later(
    client, post, make_payment, monkeypatch
):
    monkeypatch.setattr(tasks, "FORGOTTEN_AFTER", timedelta(0))
    done, dead, begun, moved = (make_payment() for _ in range(4))
    post("payments:complete", payment_id=done.pk)
    log = EmailLog.objects.get()
    for payment in (dead, begun):  # What was to be done on commit is not.
        client.post(f"/payments/{payment.pk}/complete/")
    with override_flag("notifications-v2"):
        client.post(f"/payments/{moved.pk}/complete/")
    log.pk, log.message_id = None, f"payment.completed:{begun.pk}"
    log.recipient, log.status = "begun@example.com", EmailLog.Status.PENDING
    log.save()
    mail.outbox.clear()

    first, again = tasks.send_forgotten_emails(), tasks.send_forgotten_emails()

    assert (first, again) == (2, 0)
    sent = {message.to[0] for message in mail.outbox}
    assert sent == {dead.user.email, "begun@example.com"}


def test_a_receipt_names_who_referred_the_user(make_user, make_payment):
    referrer = make_user(username="bob")

    send_payment_email(make_payment(user=make_user(referrer=referrer)))

    assert "bob, who brought you here" in mail.outbox[0].body
    assert "€12.50" in mail.outbox[0].body


def test_who_wants_no_mail_gets_none(make_payment):
    payment = make_payment()
    NotificationPreference.objects.filter(user=payment.user).update(email=False)

    assert not send_payment_email(payment)

    assert mail.outbox == []


def test_a_mail_that_failed_is_sent_again(make_payment, mail_server_down):
    payment = make_payment()

    mail_server_down(True)
    assert not send_payment_email(payment)
    assert resend_failed_emails() == 0
    assert not Receipt.objects.exists()
    mail_server_down(False)
    assert resend_failed_emails() == 1
    assert resend_failed_emails() == 0

    log = EmailLog.objects.get()
    assert (log.status, log.attempts, log.error) == (EmailLog.Status.SENT, 3, "")
    assert Receipt.objects.get().payment == payment
    assert len(mail.outbox) == 1


def test_a_mail_is_given_up_after_five_attempts(make_payment, mail_server_down):
    mail_server_down(True)
    send_payment_email(make_payment())

    for _ in range(10):
        resend_failed_emails()

    assert EmailLog.objects.get().attempts == 5


def test_a_failed_payment_is_dunned_once(make_payment):
    failed = make_payment(status=Payment.Status.FAILED)

    assert send_dunning_reminders() == 1
    assert send_dunning_reminders() == 0

    assert mail.outbox[0].to == [failed.user.email]
    assert "€12.50" in mail.outbox[0].body


def test_nobody_is_dunned_who_paid_later_or_asked_for_silence(make_user, make_payment):
    now = timezone.now()
    payer, silent, gone = make_user(), make_user(), make_user(is_active=False)
    NotificationPreference.objects.filter(user=silent).update(email=False)
    for user in (payer, silent, gone):
        make_payment(user=user, status=Payment.Status.FAILED)
    make_payment(
        user=payer,
        status=Payment.Status.COMPLETED,
        completed_at=now + timedelta(minutes=1),
    )
    make_payment(status=Payment.Status.FAILED, created_at=now - timedelta(days=15))

    assert send_dunning_reminders() == 0


def test_a_user_made_in_bulk_is_dunned_like_everybody(make_payment):
    failed = make_payment(status=Payment.Status.FAILED)
    NotificationPreference.objects.filter(user=failed.user).delete()

    assert send_dunning_reminders() == 1


def test_notifications_of_a_user_are_listed(get, make_payment):
    payment = make_payment()
    send_payment_email(payment)

    response = get("notifications:user", user_id=payment.user_id)

    seen = response.json()
    assert [each["payment"] for each in seen["receipts"]] == [payment.reference]
    assert [each["status"] for each in seen["emails"]] == ["sent"]
    assert seen["open"] == {"EUR": "12.50"}


def test_notifications_of_a_stranger_are_not_found(get, db):
    assert get("notifications:user", user_id=1).status_code == 404
