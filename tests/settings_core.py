"""The core without the opt-in apps: `pytest --ds tests.settings_core`."""

from __future__ import annotations

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as ALL
from tests.settings import STRANGLER as GIVEN

INSTALLED_APPS = [name for name in ALL if not name.startswith("django_strangler.")]
STRANGLER = {name: each for name, each in GIVEN.items() if name != "CONTRACTS"}
