"""What the notifications read of events; all else may change without asking them."""

from dataclasses import dataclass

from django_strangler.contracts import reads


@reads("payment.completed")
@dataclass(frozen=True, kw_only=True)
class PaymentToConfirm:
    paymentId: int


@reads("payment.refunded")
@dataclass(frozen=True, kw_only=True)
class RefundToConfirm:
    refundId: int


@reads("user.signup")
@dataclass(frozen=True, kw_only=True)
class UserToWelcome:
    userId: int


@reads("user.password-reset")
@dataclass(frozen=True, kw_only=True)
class ResetToSend:
    userId: int
