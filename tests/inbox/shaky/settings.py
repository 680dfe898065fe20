"""The monolith with the shaky app, and retries that come soon."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as BEFORE

INSTALLED_APPS = [*BEFORE, "tests.inbox.shaky"]
STRANGLER = {
    "BROKER_URL": "local://",
    "RELAY": {"LEASE": 1.0, "MAX_BACKOFF": 0.5},
    "MAX_ATTEMPTS": 50,
}
