"""Whom the new notifications serve: the one place that asks."""

from dataclasses import dataclass

NOTIFICATIONS = "notifications-v2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    name: str
    enabled: bool

    def __bool__(self) -> bool:
        return self.enabled


def notifications_moved(user_id: int) -> Decision:
    """Whether this user's messages come from the new service."""
    # Nobody has moved yet. From then on:
    # return feature_flags.evaluate(NOTIFICATIONS, user_id)
    return Decision(name=NOTIFICATIONS, enabled=False)
