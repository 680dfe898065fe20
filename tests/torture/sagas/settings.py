"""Settings of shop, orchestrators, participants and relays under torture."""

from __future__ import annotations

from tests.torture.settings import *  # noqa: F403
from tests.torture.settings import STRANGLER as GIVEN

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django_strangler",
    "django_strangler.sagas",
    "shop",
    "tests.torture.sagas",
]
STRANGLER = {**GIVEN, "RETENTION": 3600.0}
