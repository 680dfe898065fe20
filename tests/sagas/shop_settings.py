"""The monolith with the shop."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as ALL

INSTALLED_APPS = [*ALL, "shop"]
