from typing import Any

from django.apps import apps
from django.db.models.signals import post_save
from django.dispatch import receiver

from .models import User


@receiver(post_save, sender=User)
def create_notification_preference(
    instance: User, created: bool, raw: bool, using: str, **kwargs: Any
) -> None:
    # A fixture brings its own preferences.
    if created and not raw:
        # By name: notifications imports this app, so this app cannot import it.
        preference = apps.get_model("notifications", "NotificationPreference")
        preference.objects.using(using).get_or_create(user=instance)
