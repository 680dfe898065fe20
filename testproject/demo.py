"""
The main job, on SQLite and without any server.

Payments are made through the monolith's views; a relay, a process of its own, moves
their events to subscribers; half of the users get their receipts that way, the others
by the old path. Exits 0 if every payment has exactly one receipt, else 1.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAYMENTS = 20
PATIENCE = 60.0  # Seconds until the demo gives up waiting.


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(
            DATABASE_URL="",
            DATABASE_PATH=f"{folder}/demo.sqlite3",
            BROKER_URL="local://",
            DJANGO_SETTINGS_MODULE="monolith.settings",
            EMAIL_BACKEND="django.core.mail.backends.dummy.EmailBackend",
        )
        sys.path.insert(0, str(HERE))
        import django
        from django.core.management import call_command

        django.setup()
        print("Making a database on SQLite …", flush=True)
        call_command("migrate", verbosity=0)
        print("Starting a relay: manage.py drain_outbox", flush=True)
        with relay():
            return run()


@contextmanager
def relay():
    process = subprocess.Popen(
        [sys.executable, str(HERE / "manage.py"), "drain_outbox"],
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def run() -> int:
    from payments.rollout import NOTIFICATIONS
    from users.services import sign_up

    from django_strangler import feature_flags
    from django_strangler.models import OutboxEvent

    feature_flags.set_rollout(NOTIFICATIONS, percentage=50, by="demo", why="the demo")
    print(f"{NOTIFICATIONS}: 50 % of users get their receipts by events\n", flush=True)
    users = [
        sign_up(email=f"user{number}@example.com", password="a-long-password")
        for number in range(PAYMENTS // 2)
    ]
    payments = [pay(users[number % len(users)].pk) for number in range(PAYMENTS)]

    drained = wait_for(lambda: not OutboxEvent.objects.pending().exists())
    for payment in payments:
        show(payment)
    return verdict(payments, drained)


def pay(user: int) -> int:
    """Make and complete a payment over the monolith's views."""
    from django.test import Client

    client = Client(headers={"host": "127.0.0.1"})
    made = client.post(
        "/payments/",
        {"user": user, "amount": "9.90", "currency": "EUR"},
        content_type="application/json",
    )
    payment: int = made.json()["id"]
    done = client.post(f"/payments/{payment}/complete/")
    assert done.status_code == 200, done.content
    return payment


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def show(payment: int) -> None:
    """One event's way, from the view to the receipt."""
    from notifications.models import EmailLog

    from django_strangler.models import InboxEntry, OutboxEvent

    event = OutboxEvent.objects.get(
        type="payment.completed", key=f"payments.payment:{payment}"
    )
    moved = event.headers.get("flag-notifications-v2") == "on"
    way = [f"payment {payment:>2} completed", f"outbox {event.pk:>3} ({event.type})"]
    if event.confirmed_at:
        took = (event.confirmed_at - event.published_at).total_seconds() * 1000
        way.append(f"confirmed after {took:4.0f} ms")
    else:
        way.append(f"{event.state} {event.last_error}")
    handled = InboxEntry.objects.filter(event_id=event.event_id)
    names = ", ".join(sorted(handled.values_list("subscriber", flat=True)))
    way.append(f"subscribers: {names or 'none'}")
    mails = EmailLog.objects.filter(payment_id=payment).count()
    path = "by event" if moved else "by the old path"
    way.append(f"{mails} mail {path}")
    print("  →  ".join(way))


def verdict(payments: list[int], drained: bool) -> int:
    from notifications.models import EmailLog
    from payments.models import Payment

    from django_strangler.models import InboxEntry, OutboxEvent

    completed = Payment.objects.filter(status=Payment.Status.COMPLETED).count()
    events = OutboxEvent.objects.filter(type="payment.completed")
    confirmed = events.confirmed().count()
    mails = EmailLog.objects.filter(
        payment_id__in=payments, status=EmailLog.Status.SENT
    )
    receipts = mails.count()
    once = mails.values("payment_id").distinct().count() == receipts
    by_event = InboxEntry.objects.filter(
        subscriber="receipts", event_type="payment.completed"
    ).count()
    good = drained and once and len(payments) == completed == confirmed == receipts
    print(
        f"\n{completed} payments made, {events.count()} events published, {confirmed} "
        f"confirmed, {receipts} receipts sent ({by_event} subscribers' calls), "
        f"{'once each' if once else 'SOME TWICE'}"
    )
    print("All is well." if good else "SOMETHING IS MISSING.", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
