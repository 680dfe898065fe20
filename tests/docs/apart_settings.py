"""The monolith, with the projects that pages tell how to move over from."""

from __future__ import annotations

from monolith.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "django_outbox_pattern", "waffle"]  # noqa: F405
