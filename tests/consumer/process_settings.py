"""The shaky monolith for consumers of their own processes."""

from __future__ import annotations

import os

from tests.inbox.shaky.settings import *  # noqa: F403

DEBUG = False
STRANGLER = {
    "BROKER_URL": os.environ["BROKER_URL"],
    "EXCHANGE": os.environ["EXCHANGE"],
    "HANDLER_TIMEOUT": float(os.environ.get("HANDLER_TIMEOUT", "60")),
}
