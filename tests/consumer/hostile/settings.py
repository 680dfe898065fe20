"""The shaky monolith, with subscribers that count what reaches them."""

from __future__ import annotations

from tests.consumer.process_settings import *  # noqa: F403
from tests.consumer.process_settings import INSTALLED_APPS as BEFORE
from tests.consumer.process_settings import STRANGLER as OTHERS

INSTALLED_APPS = [*BEFORE, "tests.consumer.hostile"]
STRANGLER = {**OTHERS, "TRUSTED_PUBLISHERS": {"payout.*": ["relay"]}}
