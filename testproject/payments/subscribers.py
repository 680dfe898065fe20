"""
The bank, where there is one, hears of what happened here.

Not in the view: a row would be locked while the bank thinks, and what it did could not
be rolled back. An event comes at least once, and the key lets the bank do it once.
"""

from django.conf import settings

from django_strangler import subscribe
from django_strangler.events import Event
from django_strangler.services import service

PATIENCE = (0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600)  # The bank may be away for hours.


def order(path: str, key: str, event: Event) -> None:
    service("bank").post(
        path, json=event.payload, idempotency_key=key, raise_for_status=True
    )


if settings.BANK_URL:

    @subscribe("payment.completed", name="bank-charges", retry_delays=PATIENCE)
    def charge(event: Event) -> None:
        order("/charges", f"payment-{event.payload['paymentId']}", event)

    @subscribe("payment.refunded", name="bank-refunds", retry_delays=PATIENCE)
    def give_back(event: Event) -> None:
        order("/refunds", f"refund-{event.payload['refundId']}", event)
