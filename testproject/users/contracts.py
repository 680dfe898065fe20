"""The events of users: what readers may rely on."""

from dataclasses import dataclass
from typing import Annotated

from django_strangler.contracts import event, limits

OWNER = "users"
KEY = "users.user"

Id = Annotated[int, limits(least=1, most=2**53 - 1)]  # JavaScript is exact so far.


@event("user.signup", key=KEY, owner=OWNER)
@dataclass(frozen=True, kw_only=True)
class UserSignedUp:
    """Somebody has an account now."""

    userId: Id
    email: str
    locale: Annotated[str, "A language tag, such as de or pt-br."]
    referrerId: Id | None


@event("user.password-reset", key=KEY, owner=OWNER)
@dataclass(frozen=True, kw_only=True)
class PasswordResetRequested:
    """Somebody has asked for a new password."""

    userId: Id


Position = Annotated[
    int,
    limits(least=1, most=2**53 - 1),
    "A greater one is a later state of the same row.",
]


@dataclass(frozen=True, kw_only=True)
class UserRow:
    """What others may know of a user."""

    isActive: bool


@event("user.changed", key=KEY, owner=OWNER)
@dataclass(frozen=True, kw_only=True)
class UserChanged:
    """How a user is now."""

    id: Id
    position: Position
    row: Annotated[UserRow | None, "Null: the user is gone."]


@dataclass(frozen=True, kw_only=True)
class IdentityCheckRow:
    """One attempt to establish who a user is."""

    userId: Id
    status: str


@event("identity-check.changed", key="users.kyccheck", owner=OWNER)
@dataclass(frozen=True, kw_only=True)
class IdentityCheckChanged:
    """How an identity check is now."""

    id: Id
    position: Position
    row: Annotated[IdentityCheckRow | None, "Null: it is gone."]
