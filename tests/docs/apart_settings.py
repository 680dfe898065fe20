"""The monolith with the shop, and the projects that pages tell how to move from."""

from __future__ import annotations

from monolith.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "django_outbox_pattern", "shop", "waffle"]  # noqa: F405
