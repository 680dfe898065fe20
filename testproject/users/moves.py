"""What other services may keep a copy of: who may pay, and how much."""

from django_strangler.moves import capture

from .contracts import IdentityCheckChanged, UserChanged

capture("users.User", UserChanged, fields={"is_active": "isActive"}, name="users")
capture(
    "users.KycCheck",
    IdentityCheckChanged,
    fields={"user_id": "userId", "status": "status"},
    name="identity-checks",
)
