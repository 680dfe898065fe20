"""The events of payments: what readers may rely on."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from django_strangler.contracts import event, limits, open_enum

from .models import Currency

OWNER = "payments"
KEY = "payments.payment"

Id = Annotated[int, limits(least=1, most=2**53 - 1)]  # JavaScript is exact so far.
Money = Annotated[Decimal, "In whole units of the currency, as text."]
AnyCurrency = Annotated[Currency, open_enum]  # Others may come.


@event("payment.created", key=KEY, owner=OWNER)
@dataclass(frozen=True, kw_only=True)
class PaymentCreated:
    """Somebody wants to pay."""

    paymentId: Id
    userId: Id
    amount: Money
    currency: AnyCurrency


@event("payment.completed", key=KEY, owner=OWNER)
@dataclass(frozen=True, kw_only=True)
class PaymentCompleted:
    """The money is there."""

    paymentId: Id
    userId: Id
    amount: Money
    currency: AnyCurrency


@event("payment.failed", key=KEY, owner=OWNER)
@dataclass(frozen=True, kw_only=True)
class PaymentFailed:
    """The payment was given up."""

    paymentId: Id
    userId: Id
    reason: Annotated[str, "For people."]


@event("payment.refunded", key=KEY, owner=OWNER)
@dataclass(frozen=True, kw_only=True)
class PaymentRefunded:
    """Some or all of a payment was given back."""

    paymentId: Id
    refundId: Id
    userId: Id
    amount: Money
    currency: AnyCurrency
