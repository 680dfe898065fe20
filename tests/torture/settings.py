"""The monolith under torture: what its publishers, relays and consumers run with."""

from __future__ import annotations

import os

from monolith.settings import *  # noqa: F403
from monolith.settings import STRANGLER

from .crew import LEASE, WINDOW

# Nothing else, so that a process which was killed is soon back.
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django_strangler",
    "tests.torture",
]
AUTH_USER_MODEL = "auth.User"
MIDDLEWARE: list[str] = []
TEMPLATES: list[dict[str, object]] = []
ROOT_URLCONF = __name__
urlpatterns: list[object] = []
STRANGLER = {
    **STRANGLER,
    "RELAY": {"WINDOW": WINDOW, "LEASE": LEASE, "MAX_BACKOFF": 5},
    # Short, so that a missing route leads to parked events.
    "UNROUTABLE_GRACE": 2,
    "MAX_PAYLOAD_BYTES": 64 * 1024,
    # Short, so that prune_outbox finds something to delete.
    "RETENTION": float(os.environ.get("TORTURE_RETENTION", "15")),
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"timed": {"format": "%(asctime)s %(message)s"}},
    "handlers": {"timed": {"class": "logging.StreamHandler", "formatter": "timed"}},
    "loggers": {"django_strangler": {"handlers": ["timed"], "level": "INFO"}},
}
