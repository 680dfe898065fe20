from decimal import Decimal

from .models import User

LIMIT_UNVERIFIED = Decimal(10_000)


def check_limit(user: User, amount: Decimal) -> str | None:
    """Refuse a large payment of somebody whose identity is not established."""
    if amount > LIMIT_UNVERIFIED and not user.is_verified:
        return f"More than {LIMIT_UNVERIFIED:,} needs a passed identity check."
    return None
