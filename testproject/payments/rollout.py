"""Whom the new notifications serve: the one place that asks."""

from django_strangler import feature_flags

NOTIFICATIONS = "notifications-v2"


def notifications_moved(user_id: int) -> feature_flags.Decision:
    """Whether this user's messages come from the new service."""
    return feature_flags.evaluate(NOTIFICATIONS, user_id)
